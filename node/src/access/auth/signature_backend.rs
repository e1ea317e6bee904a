//! The signatures of tokens, checked by ring, which the rest of the server uses for TLS. `jsonwebtoken` takes any
//! backend; its own two would each bring another set of cryptography along.

use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtSigner, JwtVerifier};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use signature::Verifier;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// Lets `jsonwebtoken` use this backend, in the whole process.
pub(super) fn install() {
    // Refused only where it was installed before, which is all that is wanted.
    let _ = PROVIDER.install_default();
}

/// Tokens are made elsewhere.
fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::InvalidAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let (family, check): (_, &'static dyn VerificationAlgorithm) = match algorithm {
        Algorithm::HS256 => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.try_get_hmac_secret()?);
            return Ok(Box::new(SharedKey(key)));
        }
        Algorithm::RS256 => (AlgorithmFamily::Rsa, &RSA_PKCS1_2048_8192_SHA256),
        Algorithm::ES256 => (AlgorithmFamily::Ec, &ECDSA_P256_SHA256_FIXED),
        Algorithm::EdDSA => (AlgorithmFamily::Ed, &ED25519),
        Algorithm::HS384
        | Algorithm::HS512
        | Algorithm::ES384
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    if key.family() != family {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let key = UnparsedPublicKey::new(check, key.as_bytes().to_vec());
    Ok(Box::new(Public { algorithm: *algorithm, key }))
}

/// A secret that issuer and server share.
struct SharedKey(hmac::Key);

impl Verifier<Vec<u8>> for SharedKey {
    /// In constant time.
    fn verify(&self, message: &[u8], tag: &Vec<u8>) -> Result<(), signature::Error> {
        hmac::verify(&self.0, message, tag).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for SharedKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// A key whose other half the issuer keeps.
struct Public {
    algorithm: Algorithm,
    key: UnparsedPublicKey<Vec<u8>>,
}

impl Verifier<Vec<u8>> for Public {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.key.verify(message, signature).map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Public {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
