//! As much of an HTTP client as looking at a broker takes: a connection that stays open, one question at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PollError;

/// Largest answer that is taken, in bytes. Pages have some hundred thousand.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What of a refusal is told, in characters.
const TOLD_MAX: usize = 200;

/// Where the broker's HTTP server is, and how to get in.
#[derive(Clone, Debug)]
pub struct Site {
    /// `HOST:PORT`.
    pub address: String,
    /// The token, when it demands some.
    pub token: Option<String>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Nobody listens.
    #[error("no connection: {0}")]
    Unreachable(#[from] std::io::Error),
    /// The connection ended, or what came is no HTTP.
    #[error("the connection failed: {0}")]
    Broken(#[from] hyper::Error),
    /// The question cannot be asked.
    #[error("it cannot be asked: {0}")]
    Unaskable(#[from] hyper::http::Error),
    /// The answer is a refusal.
    #[error("refused with {status}: {said}")]
    Refused {
        /// The status code.
        status: u16,
        /// What was said, or its beginning.
        said: String,
    },
    /// The answer did not come.
    #[error("no answer in {} s", .0.as_secs_f64())]
    Late(Duration),
    /// The answer does not end.
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// A stream that goes on for ever ended.
    #[error("the stream ended")]
    Ended,
    /// The page follows no events.
    #[error("the page does not say which events it follows")]
    Still,
    /// The run was over before the first answer.
    #[error("it was not answered once in the time of the run")]
    Unasked,
}

/// A connection. It is made when something is asked, and made anew when the broker has closed it.
pub(super) struct Connection<'a> {
    site: &'a Site,
    sender: Option<SendRequest<String>>,
}

impl Connection<'_> {
    pub(super) fn to(site: &Site) -> Connection<'_> {
        Connection { site, sender: None }
    }

    /// The whole answer.
    pub(super) async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<String, PollError> {
        let patience = self.site.timeout;
        let answer = async {
            let answer = self.ask(path, headers).await?;
            read(answer.into_body()).await
        };
        let answer = timeout(patience, answer).await.unwrap_or(Err(Problem::Late(patience)));
        answer.map_err(|problem| PollError::at(path, problem))
    }

    /// An answer that goes on for ever.
    pub(super) async fn open(&mut self, path: &str) -> Result<Stream, PollError> {
        let patience = self.site.timeout;
        let answer = self.ask(path, &[("accept", "text/event-stream")]);
        let answer = timeout(patience, answer).await.unwrap_or(Err(Problem::Late(patience)));
        let answer = answer.map_err(|problem| PollError::at(path, problem))?;
        Ok(Stream { path: path.to_owned(), body: answer.into_body() })
    }

    async fn ask(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Response<Incoming>, Problem> {
        let mut request = Request::get(path).header(HOST, &self.site.address);
        if let Some(token) = &self.site.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(String::new())?;
        let answer = self.sender().await?.send_request(request).await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let said = read(answer.into_body()).await?.chars().take(TOLD_MAX).collect();
        Err(Problem::Refused { status: status.as_u16(), said })
    }

    async fn sender(&mut self) -> Result<&mut SendRequest<String>, Problem> {
        let open = match self.sender.take() {
            Some(mut sender) => sender.ready().await.is_ok().then_some(sender),
            None => None,
        };
        let sender = match open {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(&self.site.address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                // Its end shows at the sender, and at the body that was being read.
                tokio::spawn(connection);
                sender
            }
        };
        Ok(self.sender.insert(sender))
    }
}

async fn read(mut body: Incoming) -> Result<String, Problem> {
    let mut read = Vec::new();
    while let Some(bytes) = next(&mut body).await? {
        read.extend_from_slice(&bytes);
        if read.len() > ANSWER_BYTES_MAX {
            return Err(Problem::TooLong);
        }
    }
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// The next bytes; nothing at the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Problem> {
    loop {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            None => return Ok(None),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// The body of an answer that goes on.
pub(super) struct Stream {
    path: String,
    body: Incoming,
}

impl Stream {
    /// What comes next, as it comes.
    pub(super) async fn next(&mut self) -> Result<Bytes, PollError> {
        let bytes = next(&mut self.body).await.and_then(|bytes| bytes.ok_or(Problem::Ended));
        bytes.map_err(|problem| PollError::at(&self.path, problem))
    }
}
