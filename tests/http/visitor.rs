//! Somebody who asks over HTTP, with or without a token.

#![allow(dead_code, reason = "each test binary uses its own part")]

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Request, RequestBuilder};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::document::{Document, ROOT};
use crate::support::{BrokerProcess, PATIENCE};

pub struct Visitor {
    runtime: Runtime,
    client: reqwest::Client,
    base: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("it is text"))
    }

    /// Status and code of a refusal, which says the same in both places.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(!problem["detail"].as_str().expect("a sentence").is_empty());
        (self.status, problem["code"].as_str().expect("a code").to_owned())
    }
}

impl Visitor {
    pub fn of(broker: &BrokerProcess) -> Visitor {
        Visitor::with(broker.http(), HeaderMap::new())
    }

    pub fn holding(broker: &BrokerProcess, token: &str) -> Visitor {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).expect("a header"));
        Visitor::with(broker.http(), headers)
    }

    pub fn with(base: &str, headers: HeaderMap) -> Visitor {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let builder = reqwest::Client::builder().default_headers(headers).timeout(PATIENCE);
        // A connection that is kept would be closed by the broker during a longer silence, which is noticed at the next request only.
        let builder = builder.redirect(reqwest::redirect::Policy::none()).pool_max_idle_per_host(0);
        let client = builder.build().expect("a client");
        Visitor { runtime, client, base: base.to_owned() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// The answer, which has to be one that the document of the API allows.
    pub fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let answer = self.answer(request);
        if path.starts_with(ROOT) {
            Document::get().check(&method, &path, &answer);
        }
        answer
    }

    fn answer(&self, request: Request) -> Answer {
        self.runtime.block_on(async {
            let response = self.client.execute(request).await.expect("an answer");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, text: response.text().await.expect("text") }
        })
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body.to_owned()))
    }

    /// Runs what else is to be done over HTTP.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}
