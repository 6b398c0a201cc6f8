//! Checks JSON against docs/stress_test.schema.json.
//!
//! Knows the keywords of JSON Schema (2020-12) that this schema uses, a few of some fifty: a crate
//! that knows all of them would bring more packages than the program itself has.
//!
//! Rule: a keyword that it does not know is an error, so that nothing passes unchecked.

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../docs/stress_test.schema.json");

/// Keywords that describe and do not restrict.
const WORDS: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

/// What of `json` is not as the schema says, each with its place.
pub(crate) fn errors(json: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut errors = Vec::new();
    check(&root, &root, json, "", &mut errors);
    errors
}

/// What of `json` is not as the schema says about `kind`, each with its place.
pub(crate) fn errors_as(kind: &str, json: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut errors = Vec::new();
    check(&root, &root["$defs"][kind], json, "", &mut errors);
    errors
}

fn check(root: &Value, schema: &Value, json: &Value, place: &str, errors: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    for (keyword, rule) in keywords {
        let is_kept = match keyword.as_str() {
            "type" => of_type(rule, json),
            "const" => json == rule,
            "enum" => list(rule).contains(json),
            "minimum" => json
                .as_f64()
                .is_none_or(|number| Some(number) >= rule.as_f64()),
            "maximum" => json
                .as_f64()
                .is_none_or(|number| Some(number) <= rule.as_f64()),
            "minItems" => count(json).is_none_or(|count| Some(count) >= rule.as_u64()),
            "maxItems" => count(json).is_none_or(|count| Some(count) <= rule.as_u64()),
            "required" => list(rule).iter().all(|name| {
                let name = name.as_str().expect("a name");
                json.get(name).is_some()
            }),
            "anyOf" => matching(root, rule, json) >= 1,
            "oneOf" => matching(root, rule, json) == 1,
            "$ref" => {
                check(root, definition(root, rule), json, place, errors);
                true
            }
            "properties" => {
                for (name, rule) in rule.as_object().expect("properties have names") {
                    if let Some(json) = json.get(name) {
                        check(root, rule, json, &format!("{place}/{name}"), errors);
                    }
                }
                true
            }
            "items" => {
                for (number, json) in json.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, json, &format!("{place}/{number}"), errors);
                }
                true
            }
            "additionalProperties" if rule == &Value::Bool(true) => true,
            "additionalProperties" => {
                assert!(!keywords.contains_key("properties"), "not both, here");
                for (name, json) in json.as_object().into_iter().flatten() {
                    check(root, rule, json, &format!("{place}/{name}"), errors);
                }
                true
            }
            word if WORDS.contains(&word) => true,
            unknown => panic!("the schema uses {unknown}, which is not checked here"),
        };
        if !is_kept {
            errors.push(format!("{place}: {keyword} {rule}, but it is {json:.60}"));
        }
    }
}

fn of_type(rule: &Value, json: &Value) -> bool {
    let is = |name: &Value| match name.as_str().expect("a type has a name") {
        "null" => json.is_null(),
        "boolean" => json.is_boolean(),
        "string" => json.is_string(),
        "number" => json.is_number(),
        "integer" => json.is_u64() || json.is_i64(),
        "array" => json.is_array(),
        "object" => json.is_object(),
        other => panic!("there is no type {other}"),
    };
    match rule.as_array() {
        Some(names) => names.iter().any(is),
        None => is(rule),
    }
}

fn matching(root: &Value, rules: &Value, json: &Value) -> usize {
    let matches = |schema: &&Value| {
        let mut errors = Vec::new();
        check(root, schema, json, "", &mut errors);
        errors.is_empty()
    };
    list(rules).iter().filter(matches).count()
}

fn definition<'a>(root: &'a Value, rule: &Value) -> &'a Value {
    let path = rule.as_str().and_then(|text| text.strip_prefix('#'));
    let definition = root.pointer(path.expect("a reference within the schema"));
    definition.expect("what is referred to exists")
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn count(json: &Value) -> Option<u64> {
    json.as_array().map(|list| list.len() as u64)
}
