//! A small judge of JSON by a schema: the words that the schemas of this repository use, and a panic
//! at any other, so that nothing in a schema is passed over.

use serde_json::Value;

/// What of `value` breaks `schema`, with the places; empty where it keeps to it.
///
/// # Panics
/// At a word in the schema that is not known here.
pub fn complaints(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    judge(schema, schema, value, "", &mut found);
    found
}

fn judge(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Some(words) = schema.as_object() else { panic!("{schema} is no schema") };
    for (word, rule) in words {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "$defs" => true,
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#'));
                let target = path.and_then(|path| root.pointer(path));
                judge(root, target.expect("the reference leads somewhere"), value, place, found);
                true
            }
            "type" => match rule.as_str() {
                Some("object") => value.is_object(),
                Some("array") => value.is_array(),
                Some("string") => value.is_string(),
                Some("integer") => value.is_u64() || value.is_i64(),
                Some("number") => value.is_number(),
                _ => panic!("type {rule} is not known here"),
            },
            "enum" => rule.as_array().is_some_and(|legal| legal.contains(value)),
            "minimum" => value.as_f64() >= rule.as_f64(),
            "minLength" => length(value.as_str().map(str::len)) >= rule.as_u64(),
            "minItems" => length(value.as_array().map(Vec::len)) >= rule.as_u64(),
            "maxItems" => length(value.as_array().map(Vec::len)) <= rule.as_u64(),
            "required" => {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                names.into_iter().all(|name| value.get(name).is_some())
            }
            "properties" => {
                for (name, part) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = rule.get(name) {
                        judge(root, schema, part, &format!("{place}/{name}"), found);
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(rule, &Value::Bool(false), "only false is known here");
                let known = schema.get("properties").and_then(Value::as_object);
                let names = value.as_object().into_iter().flatten().map(|(name, _)| name);
                names.into_iter().all(|name| known.is_some_and(|known| known.contains_key(name)))
            }
            "items" => {
                for (index, part) in value.as_array().into_iter().flatten().enumerate() {
                    judge(root, rule, part, &format!("{place}/{index}"), found);
                }
                true
            }
            _ => panic!("{word} is not known here"),
        };
        if !holds {
            found.push(format!("{place}: {value} breaks {word} {rule}"));
        }
    }
}

fn length(length: Option<usize>) -> Option<u64> {
    length.map(|length| length as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_broken_rule_is_told_with_its_place() {
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": {
                "a": {"$ref": "#/$defs/small"},
                "b": {"type": "array", "maxItems": 1, "items": {"type": "string", "minLength": 1}}
            },
            "$defs": {"small": {"type": "integer", "minimum": 1}}
        });
        assert!(complaints(&schema, &json!({"a": 1, "b": ["x"]})).is_empty());
        for (value, place) in [
            (json!([]), ": []"),
            (json!({}), ": {}"),
            (json!({"a": 0}), "/a: 0"),
            (json!({"a": 1.5}), "/a: 1.5"),
            (json!({"a": 1, "c": 1}), ": {"),
            (json!({"a": 1, "b": ["x", "y"]}), "/b: ["),
            (json!({"a": 1, "b": [""]}), "/b/0: "),
        ] {
            let found = complaints(&schema, &value);
            assert!(found.iter().any(|told| told.starts_with(place)), "{value}: {found:?}");
        }
    }
}
