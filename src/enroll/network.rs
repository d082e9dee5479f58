//! A new external key that a Network Unlock server can return (docs/format-network-unlock.md §9). On the
//! volume it is an ordinary external key, which every program knows. The requests with which the server
//! returns it are in a separate file.

use std::path::Path;

use zeroize::Zeroizing;

use super::NewProtector;
use super::enrollment::{Enrollment, Secret};
use super::uncreatable;
use crate::crypto::random;
use crate::error::Result;
use crate::guid::Guid;
use crate::network::certificate::Certificate;
use crate::secret::{ExternalKey, NetworkKey};
use crate::unlock::network::{Sidecar, TakenRequest};

impl Enrollment {
    /// A new external key for the volume with this identifier, and requests for the server with this
    /// certificate, which are to be saved in the new file `sidecar`. Also returns one more request, to
    /// try the server with.
    ///
    /// # Errors
    /// [`Error::Environment`](crate::error::Error::Environment) when the system returns no random numbers.
    pub fn network(
        volume: Guid,
        certificate: Certificate,
        sidecar: &Path,
    ) -> Result<(Self, TakenRequest)> {
        let mut bytes = Zeroizing::new([0; NetworkKey::LEN]);
        random::fill(&mut bytes[..])?;
        let key = NetworkKey::from_bytes(&bytes);
        let protector = NewProtector::startup_key(ExternalKey::from_bytes(key.expose()))?;
        let mut stock = Sidecar::new(volume, protector.id(), certificate, &key)?;
        let trial = stock.take();
        let trial =
            trial.ok_or_else(|| uncreatable("no request is left to try the server with"))?;
        stock.refill(&key)?;
        let secret = Secret::File(stock.encode(), sidecar.to_owned());
        Ok((Self::new(protector, secret), trial))
    }
}
