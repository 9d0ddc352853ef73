// Signs a client's identity into the parameters of `connect`, as phones, nodes and browsers do.
//
//   node device.mjs SEED NONCE PARAMETERS
//
// SEED is any text; the same text gives the same device. The parameters are returned with `device` added.
import { createHash, createPrivateKey, createPublicKey, sign } from "node:crypto";

const [seed, nonce, given] = process.argv.slice(2);
const params = JSON.parse(given);
const secret = createHash("sha256").update(seed).digest();
// The PKCS #8 prefix of an Ed25519 key.
const pkcs8 = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), secret]);
const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
const raw = createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
const id = createHash("sha256").update(raw).digest("hex");
const signedAt = Date.now();
const token = params.auth?.token ?? params.auth?.deviceToken ?? params.auth?.bootstrapToken ?? "";
const said = ["v2", id, params.client.id, params.client.mode, params.role, params.scopes.join(","), signedAt, token, nonce];
const signature = sign(null, Buffer.from(said.join("|")), key).toString("base64url");
params.device = { id, publicKey: raw.toString("base64url"), signature, signedAt, nonce };
console.log(JSON.stringify(params));
