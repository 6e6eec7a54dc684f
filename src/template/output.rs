// SPDX-License-Identifier: GPL-2.0-or-later

//! Nothing gets out of a template past the marks ([`super::format::mark`]).
//!
//! Tera 1.20 escapes what is a text at the end of `{{ }}`, but not what `~` puts together, and not the
//! texts of a list that is written as a whole. Behind every `{{ }}` that is not `safe` stands a filter
//! of ours: it turns a put-together text into an ordinary one, and refuses lists and objects.

use tera::ast::{Expr, ExprVal, FunctionCall, Node};
use tera::{Template, Tera, Value};

/// Name of the filter; with a blank, so that no template can call it.
const FILTER: &str = "as written";

/// Name of the filter for lists that a variable is set to.
const KEPT: &str = "as kept";

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

/// Puts the filter behind the expressions of all templates that `tera` has.
///
/// # Errors
///
/// One takes in another template, or itself: there is no other here.
pub fn mark_all(tera: &mut Tera) -> Result<(), tera::Error> {
    tera.register_filter(FILTER, |value: &Value, _: &_| match value {
        Value::Array(_) | Value::Object(_) => Err(tera::Error::msg(
            "a list or an object cannot be written as it is: go through it with {% for %}, \
             or write it as JSON with | json_encode | safe",
        )),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(value.clone()),
    });
    tera.register_filter(KEPT, |value: &Value, _: &_| {
        if is_deep(value, MOST_LEVELS) {
            let why = format!("lists stand more than {MOST_LEVELS} deep in one another");
            return Err(tera::Error::msg(why));
        }
        Ok(value.clone())
    });
    if tera.templates.values().any(|template| takes_in_others(&template.ast)) {
        let why =
            "include, import and extends are not there: a target is made of its own fragments";
        return Err(tera::Error::msg(why));
    }
    tera.templates.values_mut().for_each(in_template);
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
            Node::VariableBlock(_, expression) => in_expression(expression),
            Node::MacroDefinition(_, definition, _) => in_nodes(&mut definition.body),
            Node::FilterSection(_, section, _) => in_nodes(&mut section.body),
            Node::Block(_, block, _) => in_nodes(&mut block.body),
            Node::Forloop(_, each, _) => {
                in_nodes(&mut each.body);
                in_nodes(each.empty_body.as_deref_mut().unwrap_or_default());
            }
            Node::If(branches, _) => {
                for (_, condition, body) in &mut branches.conditions {
                    in_condition(condition);
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

/// Tera escapes texts in conditions too: an empty one would be true, and `a ~ b` never equal to anything.
fn in_condition(expression: &mut Expr) {
    if let ExprVal::Logic(logic) = &mut expression.val {
        in_condition(&mut logic.lhs);
        in_condition(&mut logic.rhs);
    } else if !expression.is_marked_safe() {
        let args = std::iter::empty().collect();
        expression.filters.push(FunctionCall { name: "safe".to_owned(), args });
    }
}

/// Looks at a list before any filter does; nothing else that is set brings another level.
fn kept(expression: &mut Expr) {
    if matches!(expression.val, ExprVal::Array(_)) || !expression.filters.is_empty() {
        let args = std::iter::empty().collect();
        expression.filters.insert(0, FunctionCall { name: KEPT.to_owned(), args });
    }
}

fn in_expression(expression: &mut Expr) {
    // The values in what a macro gives are marked one by one.
    let marked = matches!(expression.val, ExprVal::MacroCall(_)) && expression.filters.is_empty();
    if !marked && !expression.is_marked_safe() {
        let args = std::iter::empty().collect();
        expression.filters.push(FunctionCall { name: FILTER.to_owned(), args });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(template: &str) -> Result<String, tera::Error> {
        let mut tera = Tera::default();
        tera.set_escape_fn(|text| format!("<{text}>"));
        tera.autoescape_on(vec![""]);
        tera.add_raw_template("t", template).unwrap();
        mark_all(&mut tera).unwrap();
        let view = serde_json::json!({ "a": "x", "n": 1, "list": ["x", "y"], "no": null });
        tera.render("t", &tera::Context::from_value(view).unwrap())
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

    #[test]
    fn conditions_see_texts_as_they_are() {
        let is = |condition: &str| {
            let text =
                format!("{{% set e = '' %}}{{% if {condition} %}}yes{{% else %}}no{{% endif %}}");
            rendered(&text).unwrap()
        };
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
            assert_eq!(is(condition), "yes", "{condition}");
        }
        for condition in
            ["e", "not a", "a == 'y'", "e or e", "a and e", "e | trim", "no", "missing"]
        {
            assert_eq!(is(condition), "no", "{condition}");
        }
    }
}
