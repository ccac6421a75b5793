//! Attached files in the bucket `ATTACHMENTS`: is it there, and its content as a stream.

use js_sys::futures::JsFuture;
use js_sys::{Promise, Reflect};
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::auth::UserId;
use crate::session::attachment::{AttachmentFault, FileFault, object_key};

/// The binding's name.
pub const BINDING: &str = "ATTACHMENTS";

#[wasm_bindgen]
extern "C" {
    type RawBucket;

    #[wasm_bindgen(method, catch)]
    fn head(this: &RawBucket, key: &str) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, catch)]
    fn get(this: &RawBucket, key: &str) -> Result<Promise, JsValue>;

    /// A file: its size, and its content when it was asked for.
    pub type StoredFile;

    #[wasm_bindgen(method, getter)]
    fn size(this: &StoredFile) -> f64;

    /// A stream of known length.
    #[wasm_bindgen(method, getter)]
    pub fn body(this: &StoredFile) -> JsValue;
}

/// The bucket.
pub struct Bucket(RawBucket);

impl Bucket {
    /// The bucket, if it is bound.
    pub fn of(env: &Env) -> Option<Self> {
        let bound = Reflect::get(env.as_ref(), &JsValue::from_str(BINDING)).ok()?;
        bound.is_object().then(|| Self(bound.unchecked_into()))
    }

    /// What is wrong with a file of a user's upload; `None` when nothing is.
    ///
    /// # Errors
    /// The bucket's.
    async fn fault_of(
        &self,
        user_id: &UserId,
        folder: &str,
        file: &str,
    ) -> Result<Option<FileFault>, JsValue> {
        let found = self.0.head(&object_key(user_id, folder, file))?;
        let found = JsFuture::from(found).await?;
        let bytes = found
            .is_object()
            .then(|| bytes_of(found.unchecked_ref::<StoredFile>()));
        Ok(FileFault::check(bytes).err())
    }

    /// The first file of an upload that is not as it must be.
    ///
    /// # Errors
    /// The bucket's.
    pub async fn first_fault(
        &self,
        user_id: &UserId,
        files: &cloud_agent_wire::Attachments,
        in_images: bool,
    ) -> Result<Option<AttachmentFault>, JsValue> {
        for (position, file) in files.files.iter().enumerate() {
            if let Some(fault) = self.fault_of(user_id, &files.path, file).await? {
                return Ok(Some(AttachmentFault {
                    in_images,
                    position,
                    fault,
                }));
            }
        }
        Ok(None)
    }

    /// A file to be brought to the runtime, or what is wrong with it.
    ///
    /// # Errors
    /// The bucket's.
    pub async fn open(
        &self,
        user_id: &UserId,
        folder: &str,
        file: &str,
    ) -> Result<Result<StoredFile, FileFault>, JsValue> {
        let found = self.0.get(&object_key(user_id, folder, file))?;
        let found = JsFuture::from(found).await?;
        if !found.is_object() {
            return Ok(Err(FileFault::Missing));
        }
        let found: StoredFile = found.unchecked_into();
        Ok(FileFault::check(Some(bytes_of(&found))).map(|()| found))
    }
}

/// Sizes are whole numbers far below 2^53.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bytes_of(file: &StoredFile) -> u64 {
    file.size().max(0.0) as u64
}
