//! Files that come with a prompt, and the older field of the same shape for images.

use cloud_agent_wire::Attachments;
use cloud_agent_wire::ids::is_uuid;
use serde::de::{Deserialize, Deserializer, Error};

use super::shape::List;
use super::text::{Uuid, checked_text};
use crate::limits;
use crate::trpc::issue::{Issue, Violation};

/// Extensions of files that `images` may name.
const IMAGE_EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "gif"];

/// Uploaded files: the folder that they are in and their names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields, rename = "Attachments"))]
pub struct AttachmentFields {
    /// The folder.
    pub path: Uuid,
    /// The names, 1 to 5.
    #[cfg_attr(test, ts(type = "Array<string>"))]
    pub files: List<FileName, { limits::ATTACHMENT_FILES_MAX }>,
}

/// Uploaded images, as older clients send them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields, rename = "Images"))]
pub struct ImageFields {
    /// The folder.
    pub path: Uuid,
    /// The names, 1 to 5.
    #[cfg_attr(test, ts(type = "Array<string>"))]
    pub files: List<ImageName, { limits::ATTACHMENT_FILES_MAX }>,
}

checked_text!(
    /// A UUID and an extension.
    FileName,
    |name| match file_extension(name) {
        Some(_) => Ok(()),
        None => Err(Violation::format("must be a UUID and an extension of letters and digits")),
    }
);

checked_text!(
    /// A UUID and the extension of an image.
    ImageName,
    |name| match file_extension(name) {
        Some(extension) if IMAGE_EXTENSIONS.contains(&extension) => Ok(()),
        _ => Err(Violation::format(
            "must be a UUID and one of the extensions png, jpg, jpeg, webp and gif",
        )),
    }
);

fn file_extension(name: &str) -> Option<&str> {
    let (stem, extension) = name.split_once('.')?;
    let is_extension =
        !extension.is_empty() && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (name.len() <= limits::FILE_NAME_BYTES_MAX && is_uuid(stem) && is_extension)
        .then_some(extension)
}

/// The one list of files that a message has, from the two fields that may hold it.
pub(super) fn merge(
    attachments: Option<AttachmentFields>,
    images: Option<ImageFields>,
) -> Result<Option<Attachments>, Issue> {
    let (field, path, files) = match (attachments, images) {
        (Some(_), Some(_)) => {
            let violation = Violation::custom("attachments and images cannot be given together");
            return Err(Issue::at("attachments", violation));
        }
        (Some(AttachmentFields { path, files }), None) => (
            "attachments",
            path,
            files.0.into_iter().map(FileName::into_string).collect(),
        ),
        (None, Some(ImageFields { path, files })) => (
            "images",
            path,
            files.0.into_iter().map(ImageName::into_string).collect(),
        ),
        (None, None) => return Ok(None),
    };
    let files: Vec<String> = files;
    if files.is_empty() {
        return Err(Issue::within(&[field, "files"], Violation::empty()));
    }
    let path = path.into_string();
    Ok(Some(Attachments { path, files }))
}
