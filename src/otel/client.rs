//! The HTTP client of the exporter: plain HTTP/1.1 by the hyper that the broker has anyway. The exporter's own choices would
//! bring HTTP/2 or another copy of TLS, and have half of all dependencies built anew.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
};

/// Most bytes of an answer: it says how many spans were not taken, and why.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Asks collectors.
#[derive(Debug)]
pub(super) struct Plain {
    client: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl Plain {
    /// A client that waits as long for an answer as the variables of the standard say. To be used within one runtime.
    pub fn new() -> Plain {
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Plain { client, timeout: export_timeout(|name| std::env::var(name).ok()) }
    }
}

#[async_trait::async_trait]
impl HttpClient for Plain {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let (head, body) = self.client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(self.timeout, exchange).await?
    }
}

/// How long a collector may take, by the variables of the standard: what is said of traces goes before what is said of
/// everything, and what is no number of milliseconds says nothing.
pub fn export_timeout(variable: impl Fn(&str) -> Option<String>) -> Duration {
    let said = [OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, OTEL_EXPORTER_OTLP_TIMEOUT];
    let ms = said.iter().find_map(|name| variable(name)?.parse().ok());
    ms.map_or(OTEL_EXPORTER_OTLP_TIMEOUT_DEFAULT, Duration::from_millis)
}
