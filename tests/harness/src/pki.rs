//! Certificates for mutual TLS, generated for each test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use serde_json::{Value, json};

/// An authority that signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now, and for the foreseeable future.
    Now,
    /// It has expired.
    Past,
    /// It is not valid yet.
    Future,
}

impl Authority {
    /// Creates an authority; its files go into this folder.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let file = folder.join(format!("{name}.ca.pem"));
        fs::write(&file, issuer.pem()).expect("the certificate can be written");
        Self { issuer, file }
    }

    /// Its certificate.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its key (PEM), for a program that signs too.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Signs a certificate for servers and clients with these URI SANs, in this order, and `localhost`.
    ///
    /// # Panics
    /// If that fails.
    pub fn issue(&self, name: &str, uris: &[&str], validity: Validity) -> Identity {
        self.sign(name, uris, validity, false)
    }

    /// A self-signed certificate with these URI SANs.
    ///
    /// # Panics
    /// If that fails.
    pub fn self_signed(&self, name: &str, uris: &[&str]) -> Identity {
        self.sign(name, uris, Validity::Now, true)
    }

    fn sign(&self, name: &str, uris: &[&str], validity: Validity, by_itself: bool) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("an ASCII URI")));
        params.subject_alt_names = uris.chain([SanType::DnsName("localhost".try_into().expect("ASCII"))]).collect();
        // SPIFFE requires the first of these, and Envoy's SPIFFE validator refuses a certificate without any.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (params.not_before, params.not_after) = match validity {
            Validity::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1)),
            Validity::Past => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            Validity::Future => (date_time_ymd(2099, 1, 1), date_time_ymd(2100, 1, 1)),
        };
        let key = KeyPair::generate().expect("a key");
        let made = if by_itself { params.self_signed(&key) } else { params.signed_by(&key, &self.issuer) };
        let folder = self.file.parent().expect("the file is in a folder");
        let [certificate, key_file] = ["pem", "key"].map(|part| folder.join(format!("{name}.{part}")));
        fs::write(&certificate, made.expect("a certificate").pem()).expect("the certificate can be written");
        fs::write(&key_file, key.serialize_pem()).expect("the key can be written");
        Identity { certificate, key: key_file }
    }
}

impl Identity {
    /// The file of the certificate.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// The file of the key.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// The form for Envoy's `tls_certificates`.
    pub fn envoy(&self) -> Value {
        json!([{"certificate_chain": {"filename": self.certificate}, "private_key": {"filename": self.key}}])
    }
}
