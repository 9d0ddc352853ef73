//! Signed tokens and the keys that verify them, generated for each test.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use num_bigint::BigUint;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use ring::{hmac, rsa};
use serde_json::{Value, json};

/// A provider's key, and the algorithm that it signs with.
pub struct Key {
    id: String,
    pair: Pair,
}

enum Pair {
    Es256(Box<EcdsaKeyPair>),
    Rs256(Box<RsaKeyPair>),
}

impl Key {
    /// An elliptic curve key (P-256).
    ///
    /// # Panics
    /// If it cannot be generated.
    pub fn es256(id: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).expect("a key");
        Self { id: id.to_owned(), pair: Pair::Es256(Box::new(pair)) }
    }

    /// An RSA key of 2048 bits.
    ///
    /// # Panics
    /// If it cannot be generated.
    pub fn rs256(id: &str) -> Self {
        Self { id: id.to_owned(), pair: Pair::Rs256(Box::new(rsa_key())) }
    }

    /// Somebody else's RSA key, in PKCS #8 as PEM.
    ///
    /// # Panics
    /// If it is not that.
    pub fn of_pem(id: &str, pem: &str) -> Self {
        let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let bytes = STANDARD.decode(text).expect("a key in PEM");
        Self { id: id.to_owned(), pair: Pair::Rs256(Box::new(RsaKeyPair::from_pkcs8(&bytes).expect("an RSA key"))) }
    }

    /// The public key, as a member of a JWKS.
    pub fn public(&self) -> Value {
        match &self.pair {
            Pair::Es256(pair) => {
                // 0x04, then both coordinates.
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({"kid": self.id, "use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "x": base64url(x), "y": base64url(y)})
            }
            Pair::Rs256(pair) => {
                let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kid": self.id, "use": "sig", "kty": "RSA", "alg": "RS256", "n": base64url(&n), "e": base64url(&e)})
            }
        }
    }

    /// A token with these claims.
    ///
    /// # Panics
    /// If signing fails.
    pub fn sign(&self, claims: &Value) -> String {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Es256(pair) => {
                let signed = self.unsigned("ES256", claims);
                let signature = pair.sign(&random, signed.as_bytes()).expect("a signature");
                format!("{signed}.{}", base64url(signature.as_ref()))
            }
            Pair::Rs256(pair) => {
                let signed = self.unsigned("RS256", claims);
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).expect("a signature");
                format!("{signed}.{}", base64url(&signature))
            }
        }
    }

    /// A token with `alg: none`, which claims to need no signature.
    pub fn without_signature(&self, claims: &Value) -> String {
        format!("{}.", self.unsigned("none", claims))
    }

    /// A token signed with the public key, used as if it were a shared secret.
    pub fn signed_with_public_key(&self, claims: &Value) -> String {
        let signed = self.unsigned("HS256", claims);
        let secret = match &self.pair {
            Pair::Es256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rs256(pair) => pair.public().as_ref().to_vec(),
        };
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        format!("{signed}.{}", base64url(signature.as_ref()))
    }

    fn unsigned(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": self.id});
        format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()))
    }
}

/// The JWKS of these keys.
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Value {
    json!({"keys": keys.into_iter().map(Key::public).collect::<Vec<_>>()})
}

/// These claims, issued now and valid for an hour.
///
/// # Panics
/// If the clock is before 1970.
pub fn for_an_hour(mut claims: Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    claims["iat"] = (now - 60).into();
    claims["exp"] = (now + 3600).into();
    claims
}

/// A token with another payload and its original signature.
pub fn with_claims(token: &str, claims: &Value) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, _, signature] = parts.as_slice() else { panic!("a token has three parts: {token}") };
    format!("{header}.{}.{signature}", base64url(claims.to_string().as_bytes()))
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The signing library does not generate RSA keys, so the primes are found here.
fn rsa_key() -> RsaKeyPair {
    let e = BigUint::from(65537_u32);
    let one = BigUint::from(1_u32);
    loop {
        let (mut p, mut q) = (prime(), prime());
        if p < q {
            std::mem::swap(&mut p, &mut q);
        }
        let (p1, q1) = (&p - &one, &q - &one);
        let (Some(d), Some(q_inverse)) = (e.modinv(&(&p1 * &q1)), q.modinv(&p)) else { continue };
        let parts = rsa::KeyPairComponents {
            public_key: rsa::PublicKeyComponents { n: (&p * &q).to_bytes_be(), e: e.to_bytes_be() },
            dP: (&d % &p1).to_bytes_be(),
            dQ: (&d % &q1).to_bytes_be(),
            qInv: q_inverse.to_bytes_be(),
            d: d.to_bytes_be(),
            p: p.to_bytes_be(),
            q: q.to_bytes_be(),
        };
        if let Ok(pair) = RsaKeyPair::from_components(&parts) {
            return pair;
        }
    }
}

/// A prime of 1024 bits with its two highest bits set. Good enough for a key that lives as long as a test.
fn prime() -> BigUint {
    let small: Vec<u32> = (3_u32..2000).step_by(2).filter(|n| (3..*n).step_by(2).all(|m| n % m != 0)).collect();
    let two = BigUint::from(2_u32);
    loop {
        let mut bytes = [0; 128];
        SystemRandom::new().fill(&mut bytes).expect("random bytes");
        bytes[0] |= 0b1100_0000;
        bytes[127] |= 1;
        let candidate = BigUint::from_bytes_be(&bytes);
        let has_small_factor = small.iter().any(|n| &candidate % n == BigUint::ZERO);
        if !has_small_factor && two.modpow(&(&candidate - 1_u32), &candidate) == BigUint::from(1_u32) {
            return candidate;
        }
    }
}
