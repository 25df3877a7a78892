//! The JSON Schema of playbooks and of their tests, for editors.
//!
//! Never says more than the parser: whatever a schema refuses, the parser refuses too. What only the parser knows
//! (whether an expression can be compiled, how long a lease may be) is left to `staunch check`.
//!
//! The schemas are of draft 7, which every YAML language server in use knows, older ones as the newest, and use nothing
//! that newer drafts read otherwise.

use serde_json::{Map, Value, json};
use staunch_model::CONDITION_CHARS_MAX;

use crate::schema::shape::{Form, Key, Needs, PLAYBOOK, SNIPPETS, Shape, TEST_FILE};
use crate::snippets::USE;
use crate::{CheckContext, limits, parameters};

/// The pattern of names of playbooks and environments.
const NAME: &str = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$";

/// The pattern of conditions over a query.
const CONDITION: &str = "^.*[^ ].*[<>]=?\\s*[-+.0-9][-+.0-9eE]*\\s*%?\\s*$";

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaOf {
    /// A playbook.
    Playbook,
    /// A file of tests.
    TestFile,
    /// A file of snippets.
    Snippets,
}

/// The schema of a kind of file, where the systems of `context` are known.
#[must_use]
pub fn json_schema(of: SchemaOf, context: &CheckContext) -> Value {
    let (title, shape) = match of {
        SchemaOf::Playbook => ("Staunch playbook", &PLAYBOOK),
        SchemaOf::TestFile => ("Staunch playbook tests", &TEST_FILE),
        SchemaOf::Snippets => ("Staunch snippets", &SNIPPETS),
    };
    let making = Making {
        context,
        replaced: of == SchemaOf::Playbook,
    };
    let mut schema = mapping(shape, &making);
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!(title));
    Value::Object(schema)
}

/// What a schema is made with.
struct Making<'c> {
    context: &'c CheckContext,
    /// Whether the name of a parameter or of a block may stand for a value.
    replaced: bool,
}

/// A mapping with known keys.
fn mapping(shape: &Shape, making: &Making<'_>) -> Map<String, Value> {
    let of = |key: &Key| {
        // A playbook's name and its parameters are written out.
        let making = &Making {
            replaced: making.replaced && !matches!(key.form, Form::Name | Form::Pairs(..)),
            ..*making
        };
        let mut schema = form(&key.form, making);
        schema.insert("description".to_owned(), json!(described(key)));
        (key.name.to_owned(), Value::Object(schema))
    };
    let properties: Map<String, Value> = shape.keys.iter().map(of).collect();
    let required: Vec<_> = shape.keys.iter().filter(|it| it.required).map(|it| it.name).collect();
    let mut schema = object(json!({
        "type": "object",
        "description": shape.doc,
        "properties": properties,
        "additionalProperties": false,
    }));
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let groups = |groups: &[&[&str]]| groups.iter().map(|it| json!({ "required": it })).collect::<Value>();
    match &shape.needs {
        Needs::Nothing => None,
        Needs::Some(needed) => schema.insert("anyOf".to_owned(), groups(needed)),
        Needs::One(needed) => schema.insert("oneOf".to_owned(), groups(needed)),
    };
    schema
}

/// What a key means, with the bounds of its value.
fn described(key: &Key) -> String {
    match &key.form {
        Form::Duration(least, most) => format!("{} From {} to {}.", key.doc, least.exact(), most.exact()),
        Form::Number(least, most) if *most < u32::MAX => format!("{} From {least} to {most}.", key.doc),
        _ => key.doc.to_owned(),
    }
}

fn form(form_: &Form, making: &Making<'_>) -> Map<String, Value> {
    let nested = |it: &Form| Value::Object(form(it, making));
    let schema = object(match form_ {
        // To the parser every scalar is a text; an editor sees numbers and truth values among them.
        Form::Text(None) => json!({ "type": ["string", "number", "boolean"] }),
        Form::Text(Some(most)) => json!({ "type": ["string", "number", "boolean"], "maxLength": most }),
        // The name of a playbook and that of an environment look the same; one is never called `default`.
        Form::Environment => json!({
            "type": ["string", "boolean"],
            "pattern": NAME,
            "maxLength": limits::NAME_CHARS_MAX,
            "not": { "const": parameters::DEFAULT },
        }),
        Form::Any => json!({ "not": { "type": "null" } }),
        Form::Parameter => json!({ "pattern": "^[a-z][a-z0-9_]*$", "maxLength": limits::NAME_CHARS_MAX }),
        Form::ByEnvironment => {
            let value = nested(&Form::Text(Some(limits::PARAMETER_CHARS_MAX)));
            json!({
                "type": "object",
                "properties": { parameters::DEFAULT: value },
                "required": [parameters::DEFAULT],
                "additionalProperties": value,
                "propertyNames": { "pattern": NAME, "maxLength": limits::NAME_CHARS_MAX },
            })
        }
        Form::Name | Form::Signal => json!({
            "type": ["string", "boolean"],
            "pattern": NAME,
            "maxLength": limits::NAME_CHARS_MAX,
        }),
        Form::Condition => json!({
            "type": "string",
            "pattern": CONDITION,
            "maxLength": CONDITION_CHARS_MAX,
        }),
        Form::Job => {
            json!({ "type": ["string", "boolean"], "pattern": "^[a-z][a-z0-9-]*$", "maxLength": limits::NAME_CHARS_MAX })
        }
        Form::Technique => json!({ "type": "string", "pattern": "^T[0-9]{4}(\\.[0-9]{3})?$" }),
        Form::System => {
            let mut systems = making.context.systems.clone();
            systems.sort();
            json!({ "type": "string", "enum": systems })
        }
        Form::Expression => json!({ "type": ["string", "boolean"] }),
        // Bounds are for the parser: a pattern cannot add up units.
        Form::Duration(..) | Form::Lease => {
            json!({ "type": "string", "pattern": "^\\s*([0-9]+(d|h|m|s|ms|us))+\\s*$" })
        }
        Form::Percentage => {
            json!({ "type": "string", "pattern": "^(100(\\.0{1,2})?|0?[0-9]{1,2}(\\.[0-9]{1,2})?)\\s*%$" })
        }
        Form::Number(least, most) => json!({
            "anyOf": [
                { "type": "integer", "minimum": least, "maximum": most },
                { "type": "string", "pattern": "^[0-9]+$" },
            ],
        }),
        Form::Word(words) => json!({ "type": "string", "enum": words() }),
        Form::Target => {
            json!({ "type": "string", "pattern": "^([0-9A-Fa-f:.]+|pid:[1-9][0-9]*|(account|host|domain):[A-Za-z0-9_.$-]+|job:[a-z][a-z0-9-]*:.*)$" })
        }
        Form::Network => json!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]+$" }),
        Form::Time => json!({ "type": "string", "pattern": "^[-+]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}.+$" }),
        Form::Phrase(patterns) => json!({ "type": "string", "pattern": format!("^({})$", patterns.join("|")) }),
        Form::List(of, least, most) => {
            let mut schema = object(json!({ "type": "array", "items": nested(of), "maxItems": most }));
            if *least > 0 {
                schema.insert("minItems".to_owned(), json!(least));
            }
            Value::Object(schema)
        }
        Form::Mapping(shape) => Value::Object(mapping(shape, making)),
        Form::Pairs(key, value) => {
            let mut schema = object(json!({ "type": "object", "additionalProperties": nested(value) }));
            if !matches!(key, Form::Text(_)) {
                schema.insert("propertyNames".to_owned(), nested(key));
            }
            Value::Object(schema)
        }
        Form::Named(names, shape) => {
            let one = || nested(&Form::Mapping(shape));
            let properties: Map<String, Value> = names().into_iter().map(|name| (name.to_owned(), one())).collect();
            json!({
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
                "minProperties": 1,
                "maxProperties": 1,
            })
        }
        Form::Either(forms) => json!({ "anyOf": forms.iter().map(nested).collect::<Vec<_>>() }),
    });
    match form_ {
        _ if !making.replaced => schema,
        // Each of the forms takes it.
        Form::Either(_) => schema,
        Form::Mapping(_) | Form::Named(..) => with_block(schema),
        _ => {
            let mut any = vec![Value::Object(schema)];
            if takes_parameter(form_) {
                any.push(json!({ "type": "string", "pattern": "^\\$\\{[a-z][a-z0-9_]*\\}$" }));
            }
            any.push(json!({
                "type": "object",
                "properties": { USE: block() },
                "required": [USE],
                "additionalProperties": false,
            }));
            object(json!({ "anyOf": any }))
        }
    }
}

/// The schema of a mapping that can be a block, with keys beside its name or without.
fn with_block(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.insert(USE.to_owned(), block());
    }
    // What the block has is not asked for.
    let mut otherwise = Map::new();
    for keyword in ["required", "maxProperties"] {
        otherwise.extend(schema.remove(keyword).map(|of| (keyword.to_owned(), of)));
    }
    if !otherwise.is_empty() {
        schema.insert("anyOf".to_owned(), json!([otherwise, { "required": [USE] }]));
    }
    schema
}

/// The name of a block.
fn block() -> Value {
    json!({
        "type": ["string", "boolean"],
        "pattern": NAME,
        "maxLength": limits::NAME_CHARS_MAX,
        "description": "The block in snippets.yaml that stands here.",
    })
}

/// Whether the name of a parameter may stand for a value of this form, and is not of that form itself.
const fn takes_parameter(form: &Form) -> bool {
    match form {
        Form::System
        | Form::Signal
        | Form::Condition
        | Form::Job
        | Form::Technique
        | Form::Duration(..)
        | Form::Lease
        | Form::Percentage
        | Form::Number(..)
        | Form::Word(_)
        | Form::Target
        | Form::Network
        | Form::Time
        | Form::Phrase(_) => true,
        Form::Text(_)
        | Form::Name
        | Form::Environment
        | Form::Parameter
        | Form::ByEnvironment
        | Form::Any
        | Form::Expression
        | Form::List(..)
        | Form::Mapping(_)
        | Form::Pairs(..)
        | Form::Named(..)
        | Form::Either(_) => false,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => unreachable!("every form is written as an object, not as {other}"),
    }
}

#[cfg(test)]
mod tests;
