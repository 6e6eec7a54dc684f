// SPDX-License-Identifier: GPL-2.0-or-later

//! How much a template may do, counted while it is rendered.
//!
//! Nothing can stop Tera from outside, and a text that is doubled often enough ends the process. So each
//! round of a loop, each call of a macro and each byte that is written, kept or filtered is charged to one
//! budget. It is counted and not timed: what a template gives must not depend on the machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tera::ast::{Expr, ExprVal, FilterSection, FunctionCall, Node, WS};
use tera::{Template, Tera, Value};

/// All that one target may cost.
pub(super) const ALL: u64 = 200_000_000;
/// A round of a loop, or a call of a macro; a byte is 1.
const ROUND_COSTS: u64 = 200;
/// A member of a list or an object, beside its texts.
const MEMBER_COSTS: u64 = 32;
/// Bytes of a text that a variable is set to.
const LONGEST_KEPT: usize = 1 << 20;
/// Bytes of a text that a filter gives.
const LONGEST: usize = 16 << 20;

/// Name of the function that counts a round; with a blank, as the others, so that no template can call it.
const ROUND: &str = "as round";
/// Name of the filter behind each filter.
const SIZED: &str = "as sized";
/// Name of the filter before one that multiplies texts.
const GROWN: &str = "as grown";
/// Name of the filter for what a loop goes over.
const LOOPED: &str = "as looped";
/// Name of the filter for what is searched.
const SEARCHED: &str = "as searched";
/// Name of the filter for what is tested; it gives true.
const TESTED: &str = "as tested";
/// Tables of records are large, found by key, and copied by a filter: not charged where one is searched.
const TABLES: [&str; 2] = ["databases", "configuration"];
/// Filters whose result can be as long as two texts multiplied.
const MULTIPLY: [&str; 3] = ["replace", "join", "indent"];

/// What is left.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    /// A new one of `all`, with the filters and functions that charge it.
    pub(super) fn new(tera: &mut Tera, all: u64) -> Self {
        let new = Self(Arc::new(AtomicU64::new(all)));
        let budget = new.clone();
        tera.register_function(ROUND, move |args: &_| budget.round(args));
        let budget = new.clone();
        tera.register_filter(SIZED, move |value: &Value, _: &_| {
            budget.charge_value(value, LONGEST)?;
            Ok(value.clone())
        });
        tera.register_filter(GROWN, |value: &Value, args: &_| {
            if grown(value, args) > LONGEST {
                return Err(too_long(LONGEST));
            }
            Ok(value.clone())
        });
        let budget = new.clone();
        tera.register_filter(LOOPED, move |value: &Value, _: &_| {
            // Tera counts the characters from the begin in each round.
            let length = value.as_str().map_or(0, |text| text.len() as u64);
            budget.charge(length.saturating_mul(length) / 8)?;
            Ok(value.clone())
        });
        for (name, is_test) in [(SEARCHED, false), (TESTED, true)] {
            let budget = new.clone();
            tera.register_filter(name, move |value: &Value, _: &_| {
                // It is copied and gone over, which is less than to write it.
                budget.charge(ROUND_COSTS / 4 + cost(value) / 8)?;
                Ok(if is_test { true.into() } else { value.clone() })
            });
        }
        new
    }

    /// Takes `cost` away.
    ///
    /// # Errors
    ///
    /// So much is not left.
    pub(super) fn charge(&self, cost: u64) -> Result<(), tera::Error> {
        let take = |left: u64| left.checked_sub(cost);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(tera::Error::msg(format!(
                "it does too much: all its loops together go round {} times at most, and make or copy {} MB \
                 at most; a loop in a loop multiplies",
                ALL / ROUND_COSTS,
                ALL / 1_000_000,
            ))),
        }
    }

    /// Takes away what a copy of `value` costs.
    ///
    /// # Errors
    ///
    /// So much is not left, or a text is longer than `longest`.
    fn charge_value(&self, value: &Value, longest: usize) -> Result<(), tera::Error> {
        if value.as_str().is_some_and(|text| text.len() > longest) {
            return Err(too_long(longest));
        }
        self.charge(cost(value))
    }

    /// The same for what a variable is set to.
    ///
    /// # Errors
    ///
    /// So much is not left, or the text is too long.
    pub(super) fn keep(&self, value: &Value) -> Result<(), tera::Error> {
        self.charge_value(value, LONGEST_KEPT)
    }

    #[expect(clippy::disallowed_types, reason = "the form that Tera calls")]
    fn round(&self, args: &std::collections::HashMap<String, Value>) -> tera::Result<Value> {
        let texts = args.get("texts").and_then(Value::as_u64).unwrap_or_default();
        self.charge(ROUND_COSTS.saturating_add(texts))?;
        Ok(Value::Null)
    }
}

fn too_long(longest: usize) -> tera::Error {
    tera::Error::msg(format!("a text gets longer than {} MiB", longest >> 20))
}

fn cost(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len() as u64,
        Value::Array(items) => items.iter().map(|item| MEMBER_COSTS + cost(item)).sum(),
        Value::Object(members) => {
            let one =
                |(name, member): (&String, &Value)| name.len() as u64 + MEMBER_COSTS + cost(member);
            members.iter().map(one).sum()
        }
    }
}

/// How long `value` gets by a filter with these arguments, at most.
#[expect(clippy::disallowed_types, reason = "the form that Tera calls")]
fn grown(value: &Value, args: &std::collections::HashMap<String, Value>) -> usize {
    let text = |name: &str| args.get(name).and_then(Value::as_str);
    let length = usize::try_from(cost(value)).unwrap_or(usize::MAX);
    let (count, each) = match (value, text("from")) {
        (Value::String(whole), Some(from)) => {
            (whole.matches(from).count(), text("to").map_or(0, str::len))
        }
        (Value::String(whole), None) => (whole.lines().count(), text("prefix").map_or(4, str::len)),
        (Value::Array(items), _) => (items.len(), text("sep").map_or(0, str::len)),
        _ => (0, 0),
    };
    length.saturating_add(count.saturating_mul(each))
}

fn call(name: &str) -> FunctionCall {
    FunctionCall { name: name.to_owned(), args: std::iter::empty().collect() }
}

/// Charges what each of `filters` gives.
pub(super) fn filters(filters: &mut Vec<FunctionCall>) {
    for filter in std::mem::take(filters) {
        // Tera passes over these two, and wants the one in front.
        if matches!(filter.name.as_str(), "default" | "safe") {
            filters.push(filter);
            continue;
        }
        if MULTIPLY.contains(&filter.name.as_str()) {
            filters.push(FunctionCall { name: GROWN.to_owned(), args: filter.args.clone() });
        }
        filters.push(filter);
        filters.push(call(SIZED));
    }
}

/// Charges `expression`, which is copied.
pub(super) fn copied(expression: &mut Expr) {
    if matches!(expression.val, ExprVal::Ident(_) | ExprVal::StringConcat(_)) {
        expression.filters.push(call(SIZED));
    }
}

/// Charges the search through `expression`.
pub(super) fn searched(expression: &mut Expr) {
    let is_table = matches!(&expression.val, ExprVal::Ident(name)
        if TABLES.contains(&name.split(['.', '[']).next().unwrap_or_default()));
    if !is_table {
        expression.filters.push(call(SEARCHED));
    }
}

/// Charges a test of the variable `name`, which Tera copies for it.
pub(super) fn tested(name: &str) -> Expr {
    let mut nothing = call("default");
    nothing.args.insert("value".to_owned(), Expr::new(ExprVal::String(String::new())));
    Expr::with_filters(ExprVal::Ident(name.to_owned()), vec![nothing, call(TESTED)])
}

/// Which of the tables of records `template` hides behind a variable of its own.
pub(super) fn hides(template: &Template) -> Option<&'static str> {
    let mut names = BTreeSet::new();
    let definitions = template.macros.values();
    names.extend(definitions.clone().flat_map(|definition| definition.args.keys().cloned()));
    let blocks = template.blocks.values().map(|block| block.body.as_slice());
    let bodies = definitions.map(|definition| definition.body.as_slice()).chain(blocks);
    for body in bodies.chain([template.ast.as_slice()]) {
        assign(body, &mut names);
    }
    TABLES.into_iter().find(|table| names.contains(*table))
}

/// Charges a text that is written as it is.
pub(super) fn raw(expression: &mut Expr) {
    expression.filters.push(call(SIZED));
}

/// Counts the rounds of a template's loops and the calls of its macros.
pub(super) fn count(template: &mut Template) {
    let mut assigned = BTreeSet::new();
    let definitions = template.macros.values();
    assigned.extend(definitions.flat_map(|definition| definition.args.keys().cloned()));
    assign(&template.ast, &mut assigned);
    for definition in template.macros.values() {
        assign(&definition.body, &mut assigned);
    }
    in_nodes(&mut template.ast, &assigned);
    for definition in template.macros.values_mut() {
        in_nodes(&mut definition.body, &assigned);
        begin(&mut definition.body);
    }
    for block in template.blocks.values_mut() {
        in_nodes(&mut block.body, &assigned);
    }
    for (_, block) in template.blocks_definitions.values_mut().flatten() {
        in_nodes(&mut block.body, &assigned);
    }
}

/// Adds the names of variables that `nodes` set.
fn assign(nodes: &[Node], names: &mut BTreeSet<String>) {
    for node in nodes {
        if let Node::Set(_, set) = node {
            names.insert(set.key.clone());
        }
        if let Node::Forloop(_, each, _) = node {
            names.insert(each.value.clone());
            names.extend(each.key.clone());
        }
        for body in bodies(node) {
            assign(body, names);
        }
    }
}

fn bodies(node: &Node) -> Vec<&[Node]> {
    match node {
        Node::FilterSection(_, section, _) => vec![&section.body],
        Node::Block(_, block, _) => vec![&block.body],
        Node::Forloop(_, each, _) => {
            vec![&each.body, each.empty_body.as_deref().unwrap_or_default()]
        }
        Node::If(branches, _) => {
            let conditions = branches.conditions.iter().map(|(_, _, body)| body.as_slice());
            let otherwise = branches.otherwise.iter().map(|(_, body)| body.as_slice());
            conditions.chain(otherwise).collect()
        }
        // A macro is rendered where it is called.
        Node::MacroDefinition(..)
        | Node::Super
        | Node::Text(_)
        | Node::VariableBlock(..)
        | Node::Set(..)
        | Node::Extends(..)
        | Node::Include(..)
        | Node::ImportMacro(..)
        | Node::Raw(..)
        | Node::Break(_)
        | Node::Continue(_)
        | Node::Comment(..) => Vec::new(),
    }
}

/// Bytes of the literal texts that `nodes` write once, but for loops, which count their own.
fn texts(nodes: &[Node]) -> usize {
    let one = |node: &Node| {
        if let Node::Text(text) | Node::Raw(_, text, _) = node {
            return text.len();
        }
        let is_counted = matches!(node, Node::Forloop(..));
        if is_counted { 0 } else { bodies(node).into_iter().map(texts).sum() }
    };
    nodes.iter().map(one).sum()
}

/// Counts a round at the begin of `body`.
fn begin(body: &mut Vec<Node>) {
    let texts = i64::try_from(texts(body)).unwrap_or(i64::MAX);
    let args = [("texts".to_owned(), Expr::new(ExprVal::Int(texts)))].into_iter().collect();
    let round = FunctionCall { name: ROUND.to_owned(), args };
    let round = Expr::new(ExprVal::FunctionCall(round));
    body.insert(0, Node::VariableBlock(WS::default(), round));
}

fn in_nodes(nodes: &mut [Node], assigned: &BTreeSet<String>) {
    for node in nodes {
        match node {
            Node::FilterSection(_, section, _) => {
                in_nodes(&mut section.body, assigned);
                around(section);
            }
            Node::Block(_, block, _) => in_nodes(&mut block.body, assigned),
            Node::Forloop(_, each, _) => {
                in_nodes(&mut each.body, assigned);
                in_nodes(each.empty_body.as_deref_mut().unwrap_or_default(), assigned);
                begin(&mut each.body);
                // A copy of all records would cost more than it saves.
                let is_of_records = each.container.filters.is_empty()
                    && matches!(&each.container.val, ExprVal::Ident(name) if !assigned.contains(name));
                if !is_of_records {
                    each.container.filters.push(call(LOOPED));
                }
            }
            Node::If(branches, _) => {
                for (_, _, body) in &mut branches.conditions {
                    in_nodes(body, assigned);
                }
                if let Some((_, body)) = &mut branches.otherwise {
                    in_nodes(body, assigned);
                }
            }
            Node::MacroDefinition(..)
            | Node::Super
            | Node::Text(_)
            | Node::VariableBlock(..)
            | Node::Set(..)
            | Node::Extends(..)
            | Node::Include(..)
            | Node::ImportMacro(..)
            | Node::Raw(..)
            | Node::Break(_)
            | Node::Continue(_)
            | Node::Comment(..) => {}
        }
    }
}

/// Charges what the filter of `section` gives.
fn around(section: &mut FilterSection) {
    let within = |filter, body| {
        vec![Node::FilterSection(WS::default(), FilterSection { filter, body }, WS::default())]
    };
    let mut body = std::mem::take(&mut section.body);
    if MULTIPLY.contains(&section.filter.name.as_str()) {
        let grown = FunctionCall { name: GROWN.to_owned(), args: section.filter.args.clone() };
        body = within(grown, body);
    }
    let filter = std::mem::replace(&mut section.filter, call(SIZED));
    section.body = within(filter, body);
}

#[cfg(test)]
mod tests;
