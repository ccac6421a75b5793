//! `PUT …/attachments/{name}`: a file for a turn, streamed to disk.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use cloud_agent_wire::RuntimeErrorCode;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use super::App;
use super::body::too_slow;
use super::errors::Error;
use crate::git::run::blocking;
use crate::limits::{ATTACHMENT_BYTES_MAX, ATTACHMENT_TIMEOUT};
use crate::store::files;

/// Stores a file under its name, whole or not at all.
pub async fn put(
    State(app): State<Arc<App>>,
    Path((session, name)): Path<(String, String)>,
    request: Body,
) -> Result<Response<Body>, Error> {
    let id = app.session_id(&session)?;
    if !is_name(&name) {
        return Err(Error::invalid(
            "name must be 36 hexadecimal digits and dashes, a dot, and 1 to 64 letters or digits",
        ));
    }
    let session = app.find_or_create(&id).await?;
    let (agent, folder) = (app.context.config.agent_uid, session.paths.attachments());
    let temporary = session.paths.runtime().join(files::temporary_name());
    let result = async {
        tokio::time::timeout(ATTACHMENT_TIMEOUT, receive(request, &temporary, agent))
            .await
            .map_err(|_| too_slow())??;
        let from = temporary.clone();
        blocking(move || put_in_place(&from, &folder, &name, agent))
            .await
            .map_err(|error| Error::disk(&error))
    };
    let result = result.await;
    if result.is_err() {
        files::remove_file(&temporary).map_err(|error| Error::disk(&error))?;
    }
    result.map(|()| StatusCode::CREATED.into_response())
}

async fn receive(body: Body, path: &FilePath, agent: Option<u32>) -> Result<(), Error> {
    let disk = |error: io::Error| Error::disk(&error);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(disk)?;
    if agent.is_some() {
        fchown(&file, agent, agent).map_err(disk)?;
    }
    let mut file = tokio::fs::File::from_std(file);
    let mut pieces = body.into_data_stream();
    let mut received = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Error::invalid("the body could not be read"))?;
        received += piece.len() as u64;
        if received > ATTACHMENT_BYTES_MAX {
            return Err(Error::new(
                RuntimeErrorCode::PayloadTooLarge,
                "an attachment must not be larger than 5 MiB",
            ));
        }
        file.write_all(&piece).await.map_err(disk)?;
    }
    file.sync_all().await.map_err(disk)
}

fn put_in_place(
    from: &FilePath,
    folder: &FilePath,
    name: &str,
    agent: Option<u32>,
) -> io::Result<()> {
    files::directory_of(folder, agent)?;
    std::fs::rename(from, folder.join(name))
}

fn is_name(name: &str) -> bool {
    let is_stem = |stem: &str| {
        stem.len() == 36
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    };
    let is_extension = |extension: &str| {
        (1..=64).contains(&extension.len())
            && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    name.split_once('.')
        .is_some_and(|(stem, extension)| is_stem(stem) && is_extension(extension))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_cannot_leave_the_folder() {
        for (name, expected) in [
            ("0f8fad5b-d9cb-469f-a165-70867728950e.png", true),
            ("0F8FAD5B-D9CB-469F-A165-70867728950E.7z", true),
            ("0f8fad5b-d9cb-469f-a165-70867728950e.PNG", true),
            ("0f8fad5b-d9cb-469f-a165-70867728950e", false),
            ("0f8fad5b-d9cb-469f-a165-70867728950e.", false),
            ("0f8fad5b-d9cb-469f-a165-70867728950e.a/b", false),
            ("0f8fad5b-d9cb-469f-a165-70867728950e.tar.gz", false),
            ("../../../../../../../../../../../tmp.png", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }
}
