// SPDX-License-Identifier: GPL-2.0-or-later

//! Nothing gets out of a template past the marks ([`super::format::mark`]).
//!
//! Tera's own escaping is turned off: it also escapes what it only looks at (defaults, sides of `==`,
//! members of lists), and not all that it writes (`~`). Instead a filter of ours stands behind every
//! `{{ }}` that is not `safe`: it marks a text, and refuses lists and objects. What a macro gives holds
//! marks already; where it is looked at or goes through a filter, they are taken out first.

use tera::ast::{Expr, ExprVal, FunctionCall, LogicExpr, LogicOperator, Node};
use tera::{Template, Tera, Value};

use super::budget::{self, Budget};
use super::format::{mark, unmarked};

/// Name of the filter for what is written; with a blank, as the others, so that no template can call it.
const WRITTEN: &str = "as written";

/// Name of the filter for lists that a variable is set to.
const KEPT: &str = "as kept";

/// Name of the filter for what a macro gave.
const TEXT: &str = "as text";

/// Name of the filter for what decides.
const TRUTH: &str = "as truth";

/// Lists within lists: a loop that puts one around another in each round would end in a full stack.
const MOST_LEVELS: usize = 32;

fn is_deep(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if left == 0 => true,
        Value::Array(items) => items.iter().any(|item| is_deep(item, left - 1)),
        Value::Object(members) => members.values().any(|item| is_deep(item, left - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Puts the filters into all templates that `tera` has.
///
/// # Errors
///
/// One takes in another template, or itself: there is no other here.
pub fn mark_all(tera: &mut Tera) -> Result<(), tera::Error> {
    mark_within(tera, budget::ALL)
}

/// The same with a budget of `all`.
///
/// # Errors
///
/// The same.
pub(super) fn mark_within(tera: &mut Tera, all: u64) -> Result<(), tera::Error> {
    tera.autoescape_on(Vec::new());
    let budget = Budget::new(tera, all);
    let kept = budget.clone();
    tera.register_filter(WRITTEN, move |value: &Value, _: &_| match value {
        Value::Array(_) | Value::Object(_) => Err(tera::Error::msg(
            "a list or an object cannot be written as it is: go through it with {% for %}, \
             or write it as JSON with | json_encode | safe",
        )),
        Value::String(text) => {
            budget.charge(text.len() as u64)?;
            Ok(mark(text).into())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
    });
    tera.register_filter(KEPT, move |value: &Value, _: &_| {
        kept.keep(value)?;
        if is_deep(value, MOST_LEVELS) {
            let why = format!("lists stand more than {MOST_LEVELS} deep in one another");
            return Err(tera::Error::msg(why));
        }
        Ok(value.clone())
    });
    tera.register_filter(TEXT, |value: &Value, _: &_| {
        Ok(value.as_str().map_or_else(|| value.clone(), |text| unmarked(text).into()))
    });
    tera.register_filter(TRUTH, |value: &Value, _: &_| Ok(is_true(value).into()));
    if tera.templates.values().any(|template| takes_in_others(&template.ast)) {
        let why =
            "include, import and extends are not there: a target is made of its own fragments";
        return Err(tera::Error::msg(why));
    }
    if let Some(name) = tera.templates.values().find_map(budget::hides) {
        let why = format!("'{name}' is the table of records: give the variable another name");
        return Err(tera::Error::msg(why));
    }
    tera.templates.values_mut().for_each(in_template);
    tera.templates.values_mut().for_each(budget::count);
    Ok(())
}

fn takes_in_others(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Include(..) | Node::ImportMacro(..) | Node::Extends(..) => true,
        Node::MacroDefinition(_, definition, _) => takes_in_others(&definition.body),
        Node::FilterSection(_, section, _) => takes_in_others(&section.body),
        Node::Block(_, block, _) => takes_in_others(&block.body),
        Node::Forloop(_, each, _) => {
            takes_in_others(&each.body) || each.empty_body.as_deref().is_some_and(takes_in_others)
        }
        Node::If(branches, _) => {
            branches.conditions.iter().any(|(_, _, body)| takes_in_others(body))
                || branches.otherwise.as_ref().is_some_and(|(_, body)| takes_in_others(body))
        }
        Node::Super
        | Node::Text(_)
        | Node::VariableBlock(..)
        | Node::Set(..)
        | Node::Raw(..)
        | Node::Break(_)
        | Node::Continue(_)
        | Node::Comment(..) => false,
    })
}

fn in_template(template: &mut Template) {
    in_nodes(&mut template.ast);
    for definition in template.macros.values_mut() {
        in_nodes(&mut definition.body);
    }
    for block in template.blocks.values_mut() {
        in_nodes(&mut block.body);
    }
    for (_, block) in template.blocks_definitions.values_mut().flatten() {
        in_nodes(&mut block.body);
    }
}

fn in_nodes(nodes: &mut [Node]) {
    for node in nodes {
        match node {
            Node::VariableBlock(_, expression) => written(expression),
            Node::MacroDefinition(_, definition, _) => in_nodes(&mut definition.body),
            Node::FilterSection(_, section, _) => {
                in_call(&mut section.filter);
                in_nodes(&mut section.body);
            }
            Node::Block(_, block, _) => in_nodes(&mut block.body),
            Node::Forloop(_, each, _) => {
                looked_at(&mut each.container);
                in_nodes(&mut each.body);
                in_nodes(each.empty_body.as_deref_mut().unwrap_or_default());
            }
            Node::If(branches, _) => {
                for (_, condition, body) in &mut branches.conditions {
                    decides(condition);
                    in_nodes(body);
                }
                if let Some((_, body)) = &mut branches.otherwise {
                    in_nodes(body);
                }
            }
            Node::Set(_, set) => kept(&mut set.value),
            Node::Super
            | Node::Text(_)
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

fn filter(name: &str) -> FunctionCall {
    FunctionCall { name: name.to_owned(), args: std::iter::empty().collect() }
}

/// What Tera takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// An expression that is written.
fn written(expression: &mut Expr) {
    let is_raw = expression.filters.iter().all(|filter| filter.name == "safe");
    if matches!(expression.val, ExprVal::MacroCall(_)) && is_raw && !expression.negated {
        // The values in what it gives are marked one by one.
        within(expression);
        return;
    }
    let is_safe = expression.is_marked_safe();
    looked_at(expression);
    // Behind a `not` stands a truth value, but Tera would have it in front of the filter.
    if is_safe {
        budget::raw(expression);
    } else if !expression.negated {
        expression.filters.push(filter(WRITTEN));
    }
}

/// An expression whose value goes on.
fn looked_at(expression: &mut Expr) {
    within(expression);
    if matches!(expression.val, ExprVal::MacroCall(_)) {
        expression.filters.insert(0, filter(TEXT));
    }
}

/// What a variable is set to: looked at before and behind the filters, since one can hide a list in a list.
fn kept(expression: &mut Expr) {
    let has_filters = !expression.filters.is_empty();
    looked_at(expression);
    expression.filters.push(filter(KEPT));
    // Tera looks for `default` in the first place only.
    let first = usize::from(expression.has_default_filter());
    if matches!(expression.val, ExprVal::Array(_)) || has_filters {
        expression.filters.insert(first, filter(KEPT));
    }
}

/// An expression that is true or not.
fn decides(expression: &mut Expr) {
    if !matches!(expression.val, ExprVal::MacroCall(_)) {
        within(expression);
        return;
    }
    // Tera asks only whether a macro has written anything, marks too, and forgets its filters.
    let mut given = Expr::with_filters(
        std::mem::replace(&mut expression.val, ExprVal::Bool(true)),
        std::mem::take(&mut expression.filters),
    );
    looked_at(&mut given);
    given.filters.push(filter(TRUTH));
    expression.val = ExprVal::Logic(LogicExpr {
        lhs: Box::new(given),
        rhs: Box::new(Expr::new(ExprVal::Bool(true))),
        operator: LogicOperator::Eq,
    });
}

/// The expressions in an expression.
fn within(expression: &mut Expr) {
    in_value(&mut expression.val);
    expression.filters.iter_mut().for_each(in_call);
    budget::filters(&mut expression.filters);
}

/// An expression that is copied into a list or an argument.
fn copied(expression: &mut Expr) {
    looked_at(expression);
    budget::copied(expression);
}

fn in_call(call: &mut FunctionCall) {
    call.args.values_mut().for_each(copied);
}

fn in_value(value: &mut ExprVal) {
    match value {
        ExprVal::Logic(logic) => {
            let is_of_truths = matches!(logic.operator, LogicOperator::And | LogicOperator::Or);
            let side = if is_of_truths { decides } else { looked_at };
            side(&mut logic.lhs);
            side(&mut logic.rhs);
        }
        ExprVal::Math(math) => {
            looked_at(&mut math.lhs);
            looked_at(&mut math.rhs);
        }
        ExprVal::In(within) => {
            looked_at(&mut within.lhs);
            looked_at(&mut within.rhs);
            budget::searched(&mut within.rhs);
        }
        ExprVal::Test(test) => {
            test.args.iter_mut().for_each(looked_at);
            let tested = budget::tested(&test.ident);
            let test = std::mem::replace(value, ExprVal::Bool(true));
            *value = ExprVal::Logic(LogicExpr {
                lhs: Box::new(tested),
                rhs: Box::new(Expr::new(test)),
                operator: LogicOperator::And,
            });
        }
        ExprVal::MacroCall(call) => call.args.values_mut().for_each(looked_at),
        ExprVal::FunctionCall(call) => in_call(call),
        ExprVal::Array(items) => items.iter_mut().for_each(copied),
        ExprVal::StringConcat(parts) => parts.values.iter_mut().for_each(in_value),
        ExprVal::String(_)
        | ExprVal::Int(_)
        | ExprVal::Float(_)
        | ExprVal::Bool(_)
        | ExprVal::Ident(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::format::{CLOSE, OPEN};

    fn rendered(template: &str) -> Result<String, tera::Error> {
        let mut tera = Tera::default();
        tera.add_raw_template("t", template).unwrap();
        mark_all(&mut tera).unwrap();
        let view = serde_json::json!({ "a": "x", "n": 1, "list": ["x", "y"], "no": null });
        let text = tera.render("t", &tera::Context::from_value(view).unwrap())?;
        Ok(text.replace(OPEN, "<").replace(CLOSE, ">"))
    }

    #[test]
    fn every_text_is_marked_once_wherever_it_comes_from() {
        for (template, expected) in [
            ("{{ a }}{{ n }}{{ no }}{{ a | upper }}", "<x>1<X>"),
            ("{{ a ~ a }}{{ 'b' }}", "<xx><b>"),
            ("{% if a %}{{ a ~ 1 }}{% else %}{% endif %}", "<x1>"),
            ("{% if not a %}{% elif a %}{{ a ~ 2 }}{% endif %}", "<x2>"),
            ("{% if not a %}{% else %}{{ a ~ 3 }}{% endif %}", "<x3>"),
            ("{% for i in list %}{{ i ~ a }}{% endfor %}", "<xx><yx>"),
            ("{% for i in [] %}{% else %}{{ a ~ 4 }}{% endfor %}", "<x4>"),
            ("{% macro m(p) %}{{ p ~ 5 }}{% endmacro %}{{ self::m(p=a) }}", "<x5>"),
            ("{% block b %}{{ a ~ 6 }}{% endblock %}", "<x6>"),
            ("{% filter upper %}{{ a ~ 7 }}{% endfilter %}", "<X7>"),
            ("{% set b = a ~ 8 %}{{ b }}", "<x8>"),
            ("{{ no | default(value='80') }}{{ gone | default(value=80) }}", "<80>80"),
            ("{{ gone | default(value='80') | int }}{{ gone | default(value='') }}", "80<>"),
            (
                "{{ gone | default(value=a ~ 1) }}{{ gone | default(value=list) | join }}",
                "<x1><xy>",
            ),
            ("{% set p = gone | default(value='80') %}{{ p }}", "<80>"),
            ("{% set p = gone | default(value=80) | int %}{{ p + 1 }}", "81"),
            ("{% set p = gone | default(value='') %}{{ p }}", "<>"),
            ("{% macro m(p) %}-{{ p }}{% endmacro %}{{ self::m(p=a) | upper }}", "<-X>"),
            ("{% macro m(p) %}-{{ p }}{% endmacro %}{{ self::m(p=a) | safe }}", "-<x>"),
            ("{% macro m(p) %}-{{ p }}{% endmacro %}{% set b = self::m(p=a) %}{{ b }}", "<-x>"),
            ("{{ [a, a ~ 1] | json_encode }}{{ [a] | first }}", "<[\"x\",\"x1\"]><x>"),
            ("{{ [a] | json_encode | safe }}{{ a ~ 1 | safe }}", "[\"x\"]x1"),
            ("{{ not gone }}{{ not '' }}{{ not a }}{{ a == 'x' }}", "truetruefalsetrue"),
            (
                "{{ list | join(sep='-') }}{{ a | safe }}{{ list | json_encode | safe }}",
                "<x-y>x[\"x\",\"y\"]",
            ),
        ] {
            assert_eq!(rendered(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn a_list_in_a_list_without_end_is_refused() {
        let text = "{% set a = [1] %}{% for i in range(end=N) %}{% set_global a = [a] %}{% endfor %}{{ a | length }}";
        assert_eq!(rendered(&text.replace('N', "20")).unwrap(), "1");
        assert!(rendered(&text.replace('N', "100")).is_err());
        assert_eq!(rendered("{% set b = list | first | upper %}{{ b }}").unwrap(), "<X>");
    }

    #[test]
    fn a_list_is_not_written_as_a_whole() {
        for template in ["{{ list }}", "{{ [a, a] }}", "{{ list | sort }}"] {
            assert!(rendered(template).is_err(), "{template}");
        }
    }

    /// What an `if` makes of a condition.
    fn is(condition: &str) -> bool {
        let m = "{% macro m(v) %}{{ v }}{% endmacro %}";
        let text =
            format!("{m}{{% set e = '' %}}{{% if {condition} %}}yes{{% else %}}no{{% endif %}}");
        rendered(&text).unwrap() == "yes"
    }

    #[test]
    fn conditions_see_texts_as_they_are() {
        for condition in [
            "a",
            "not e",
            "a == 'x'",
            "a ~ n == 'x1'",
            "a and not e",
            "e or a",
            "a in list",
            "a is starting_with('x')",
            "a | upper == 'X'",
            "a == list.0",
            "e | default(value='y') == ''",
            "'x' == a",
            "a != e",
            "list",
            "n == 1",
            "not no",
        ] {
            assert!(is(condition), "{condition}");
        }
        for condition in
            ["e", "not a", "a == 'y'", "e or e", "a and e", "e | trim", "no", "missing"]
        {
            assert!(!is(condition), "{condition}");
        }
    }

    #[test]
    fn conditions_see_defaults_and_macros_as_they_are() {
        for condition in [
            "gone | default(value='80') == '80'",
            "'80' == gone | default(value='80')",
            "gone | default(value=80) == 80",
            "gone | default(value='80') | int > 79",
            "gone | default(value='y')",
            "not gone | default(value='')",
            "gone | default(value='y') in ['x', 'y']",
            "self::m(v=a) == 'x'",
            "self::m(v=a) | upper == 'X'",
            "'x' == self::m(v=a)",
            "self::m(v=a) != e",
            "self::m(v=a)",
            "not self::m(v=e)",
            "self::m(v=e) or self::m(v=a) and a",
            "self::m(v=' ') | length",
            "self::m(v=a) in list",
            "self::m(v=self::m(v=a)) == 'x'",
            "a is starting_with(self::m(v=a))",
        ] {
            assert!(is(condition), "{condition}");
        }
        for condition in [
            "gone | default(value='')",
            "gone | default(value=e)",
            "not gone | default(value='y')",
            "self::m(v=e)",
            "not self::m(v=a)",
            "self::m(v=' ') | trim",
            "self::m(v=e) or e",
        ] {
            assert!(!is(condition), "{condition}");
        }
    }
}
