// Encrypts secrets as backends do before they prepare a session.

import {
  constants,
  createCipheriv,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from "node:crypto";

/** A value as it stands in `encryptedSecrets`. */
export interface EncryptedSecret {
  encryptedData: string;
  encryptedDEK: string;
  algorithm: "rsa-aes-256-gcm";
  version: 1;
}

/** A fresh key pair; the private half as the value of `AGENT_ENV_VARS_PRIVATE_KEY`. */
export function newKeyPair(kind: "pkcs1" | "pkcs8"): { publicKey: KeyObject; pem: string } {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { publicKey, pem: privateKey.export({ type: kind, format: "pem" }).toString() };
}

/** Encrypts a value under a key of its own, and that key under the public key. */
export function encryptSecret(publicKey: KeyObject, value: string): EncryptedSecret {
  const [key, nonce] = [randomBytes(32), randomBytes(16)];
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  const ciphertext = Buffer.concat([cipher.update(value, "utf8"), cipher.final()]);
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const wrapped = publicEncrypt({ key: publicKey, padding, oaepHash: "sha256" }, key);
  return {
    encryptedData: Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]).toString("base64"),
    encryptedDEK: wrapped.toString("base64"),
    algorithm: "rsa-aes-256-gcm",
    version: 1,
  };
}
