//! A collector of spans: takes OTLP over HTTP and keeps what came, or takes requests and never answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::PATIENCE;

/// What came so far.
#[derive(Default)]
struct Received {
    spans: Mutex<(Vec<Span>, Vec<KeyValue>)>,
    more: Condvar,
}

pub struct Collector {
    endpoint: String,
    received: Arc<Received>,
}

impl Collector {
    pub fn open() -> Collector {
        Collector::with(true)
    }

    /// One that hears everything and says nothing.
    pub fn mute() -> Collector {
        Collector::with(false)
    }

    fn with(answers: bool) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        let received = Arc::new(Received::default());
        let collector = Collector { endpoint, received: received.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let received = received.clone();
                std::thread::spawn(move || serve(&stream, &received, answers));
            }
        });
        collector
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits until what came has something; everything that came so far.
    pub fn until(&self, what: &str, has: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let spans = self.received.spans.lock().expect("no one panics with it");
        let waited = self.received.more.wait_timeout_while(spans, PATIENCE, |(spans, _)| !has(spans));
        let (spans, timeout) = waited.expect("no one panics with it");
        assert!(!timeout.timed_out(), "waited in vain until {what}: {:#?}", spans.0);
        spans.0.clone()
    }

    /// An attribute of the process that sent the last spans.
    pub fn of_sender(&self, key: &str) -> Option<String> {
        text_of(&self.received.spans.lock().expect("no one panics with it").1, key)
    }
}

fn serve(stream: &TcpStream, received: &Received, answers: bool) {
    let mut reader = BufReader::new(stream);
    while let Some(body) = request(&mut reader) {
        let request = ExportTraceServiceRequest::decode(&*body).expect("a request as the standard has it");
        let mut spans = received.spans.lock().expect("no one panics with it");
        for resource in request.resource_spans {
            spans.1 = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            spans.0.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        drop(spans);
        received.more.notify_all();
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        let mut writer = stream;
        if answers && writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The body of the next request; none at the end of the connection.
fn request(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(bytes) if bytes > 0 => {}
            _ => return None,
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_ascii_lowercase());
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("it says how long it is");
    let mut body = vec![0; length.parse().expect("a number")];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// An attribute as text.
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    text_of(&span.attributes, key)
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is {other:?}"),
    }
}
