//! Connections: so many at a time, none of which can take for ever to say what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

/// How long a connection may take from one request to the end of the head of the next one.
const HEAD: Duration = Duration::from_secs(30);

/// Largest head of a request, in bytes. Browsers send some hundred.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A pause when the process has no descriptor left for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    mut stopped: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(connections_max));
    loop {
        let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let taken = tokio::select! {
            taken = listener.accept() => taken,
            () = stop(&mut stopped) => return,
        };
        match taken {
            Ok((stream, _)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                tokio::spawn(async move {
                    carry(stream, router, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "failed to take a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn carry(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    // Answers are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES_MAX);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // What the other side does to its connection is its own affair.
        debug!(%error, "a connection ended early");
    }
}

/// Returns when the server stops.
pub(super) async fn stop(stopped: &mut watch::Receiver<bool>) {
    // Without a sender the server is gone.
    drop(stopped.wait_for(|stopped| *stopped).await);
}
