//! The OpenAPI document against the server: whatever is asked in the tests of this folder is in it, and answers are as it says.

#![allow(dead_code, reason = "the tests of the browser send what they need, and ask for no operations")]

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::visitor::Answer;

/// The document, and the validators that were made of it.
pub struct Document {
    root: Value,
    validators: Mutex<BTreeMap<String, Validator>>,
}

static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
    let root = serde_json::from_str(&tasker_core::ops::openapi()).expect("JSON");
    Document { root, validators: Mutex::default() }
});

/// Where the API is.
pub const ROOT: &str = "/api/v1/";

/// What is not in the document: itself.
const ITSELF: &str = "/api/v1/openapi.json";

/// A method of a path.
pub struct Operation<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub value: &'a Value,
}

impl Document {
    /// That of this build, which is also the broker's.
    pub fn get() -> &'static Document {
        &DOCUMENT
    }

    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let paths = self.root["paths"].as_object().expect("paths").iter();
        paths.flat_map(|(path, item)| {
            let methods = item.as_object().expect("methods").iter();
            methods.map(move |(method, value)| Operation { method, path, value })
        })
    }

    /// The operation that a request is for.
    fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let fits = |operation: &Operation| {
            let (template, path) = (operation.path.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(template, part)| template.starts_with('{') || template == part)
        };
        let of_method = |operation: &Operation| operation.method.eq_ignore_ascii_case(method);
        let fitting = self.operations().filter(|operation| of_method(operation) && fits(operation));
        fitting.min_by_key(|operation| operation.path.matches('{').count())
    }

    /// Whether an answer is one that the document allows.
    pub fn check(&self, method: &str, path: &str, answer: &Answer) {
        if path == ITSELF {
            return;
        }
        let Some(operation) = self.operation(method, path) else {
            let is_refused = (400..500).contains(&answer.status);
            assert!(is_refused, "{method} {path} is not in the document, and answered with {}", answer.status);
            return;
        };
        let responses = operation.value["responses"].as_object().expect("responses");
        let status = answer.status.to_string();
        let named = responses.get(&status);
        let response = named.or_else(|| responses.get("default").filter(|_| answer.status >= 400));
        let response = response.unwrap_or_else(|| panic!("{method} {path} may not answer {status}: {}", answer.text));
        let content = response["content"].as_object().expect("content");
        let kind = answer.header("content-type").split(';').next().expect("a first part");
        let schema = &content.get(kind).unwrap_or_else(|| panic!("{method} {path} may not answer {kind}"))["schema"];
        let key = format!("{} {} {status}", operation.method, operation.path);
        let mut validators = self.validators.lock().expect("no test panicked with it");
        let validator = validators.entry(key).or_insert_with(|| self.validator(schema));
        let errors: Vec<String> = validator.iter_errors(&answer.json()).map(|error| error.to_string()).collect();
        drop(validators);
        assert!(errors.is_empty(), "{method} {path}: {errors:#?}\n{}", answer.text);
    }

    /// A validator of a schema that allows nothing which it does not name.
    fn validator(&self, schema: &Value) -> Validator {
        let mut whole = closed(schema.clone());
        whole["components"] = closed(self.root["components"].clone());
        whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        jsonschema::validator_for(&whole).expect("a schema")
    }
}

/// The same with no other fields than the named: at each reference, since only there all parts of a schema are together.
fn closed(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let refers = fields.contains_key("$ref");
            let inner = |(key, value): (String, Value)| {
                // What stands in an `allOf` sees only its own fields.
                let value = if key == "allOf" { value } else { closed(value) };
                (key, value)
            };
            let mut fields: Map<String, Value> = fields.into_iter().map(inner).collect();
            if refers {
                fields.insert("unevaluatedProperties".to_owned(), json!(false));
            }
            Value::Object(fields)
        }
        Value::Array(values) => values.into_iter().map(closed).collect(),
        other => other,
    }
}
