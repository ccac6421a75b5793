//! Decrypts encrypted secrets with the platform's own cryptography.

use std::collections::BTreeMap;

use cloud_agent_wire::Secret;
use js_sys::futures::JsFuture;
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::session::encrypted_secret::{DecryptionFault, EncryptedSecret, Parts, PrivateKey};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"], js_name = importKey)]
    fn import_key(
        format: &str,
        key: &Uint8Array,
        algorithm: &JsValue,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(catch, js_namespace = ["crypto", "subtle"])]
    fn decrypt(algorithm: &JsValue, key: &JsValue, data: &Uint8Array) -> Result<Promise, JsValue>;
}

/// Decrypts every value.
///
/// # Errors
/// [`DecryptionFault`]; none of the values is given then.
pub async fn decrypt_all(
    key: Option<&PrivateKey>,
    encrypted: &BTreeMap<String, EncryptedSecret>,
) -> Result<BTreeMap<String, Secret>, DecryptionFault> {
    if encrypted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let key = key.ok_or(DecryptionFault::NoKey)?;
    let oaep = oaep().map_err(|_| DecryptionFault::BadKey)?;
    let key = imported("pkcs8", &key.to_pkcs8(), &oaep)
        .await
        .map_err(|_| DecryptionFault::BadKey)?;
    let mut decrypted = BTreeMap::new();
    for (name, secret) in encrypted {
        let parts = secret.parts().ok_or(DecryptionFault::DoesNotOpen)?;
        let value = decrypt_one(&oaep, &key, &parts)
            .await
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            // No variable of an environment can hold NUL.
            .filter(|text| !text.contains('\0'))
            .ok_or(DecryptionFault::DoesNotOpen)?;
        decrypted.insert(name.clone(), Secret::new(value));
    }
    Ok(decrypted)
}

async fn decrypt_one(oaep: &JsValue, key: &JsValue, parts: &Parts) -> Result<Vec<u8>, JsValue> {
    let value_key = decrypted(oaep, key, &parts.wrapped_key).await?;
    let name = JsValue::from_str("AES-GCM");
    let value_key = imported("raw", &value_key, &name).await?;
    let algorithm = Object::new();
    set(&algorithm, "name", &name)?;
    set(&algorithm, "iv", &Uint8Array::from(parts.nonce.as_slice()))?;
    decrypted(&algorithm, &value_key, &parts.ciphertext).await
}

fn oaep() -> Result<JsValue, JsValue> {
    let algorithm = Object::new();
    set(&algorithm, "name", &JsValue::from_str("RSA-OAEP"))?;
    set(&algorithm, "hash", &JsValue::from_str("SHA-256"))?;
    Ok(algorithm.into())
}

fn set(object: &Object, name: &str, value: &JsValue) -> Result<bool, JsValue> {
    Reflect::set(object, &JsValue::from_str(name), value)
}

async fn imported(format: &str, key: &[u8], algorithm: &JsValue) -> Result<JsValue, JsValue> {
    let usages = Array::of1(&JsValue::from_str("decrypt"));
    let key = import_key(format, &Uint8Array::from(key), algorithm, false, &usages)?;
    JsFuture::from(key).await
}

async fn decrypted(algorithm: &JsValue, key: &JsValue, data: &[u8]) -> Result<Vec<u8>, JsValue> {
    let plain = decrypt(algorithm, key, &Uint8Array::from(data))?;
    Ok(Uint8Array::new(&JsFuture::from(plain).await?).to_vec())
}
