//! Takes connections: so many at once, and none that never says what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{ACCEPT_RETRY, CONNECTIONS_MAX};

/// Serves until `stopped` fires, and then until every call that is under way has its answer.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    head_time: Duration,
    stopped: CancellationToken,
) {
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let open = TaskTracker::new();
    let accept = async {
        // The semaphore is never closed.
        while let Ok(place) = Arc::clone(&free).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let serve_one = serve_one(stream, router.clone(), head_time, stopped.clone());
                    open.spawn(async move {
                        serve_one.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::error!(error = %error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stopped.cancelled() => {}
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    head_time: Duration,
    stopped: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Callers that go away are nothing unusual.
        tracing::debug!(error = %error, "a connection ended early");
    }
}
