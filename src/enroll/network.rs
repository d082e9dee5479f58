//! External keys that the network keeps (docs/format-network-unlock.md §9): on the volume an
//! external key like any other, so that nothing on it is unknown to other programs; beside it, the
//! requests that bring the key back.

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
use crate::unlock::network::{Sidecar, Taken};

impl Enrollment {
    /// An external key that the network keeps, for the volume with that identifier: its stock of
    /// requests to the server with that certificate is saved in the new file `sidecar`. And one
    /// request more, with which the server can be tried.
    ///
    /// # Errors
    /// [`Error::Environment`](crate::error::Error::Environment) when the system gives no random
    /// numbers.
    pub fn network(
        volume: Guid,
        certificate: Certificate,
        sidecar: &Path,
    ) -> Result<(Self, Taken)> {
        let mut bytes = Zeroizing::new([0; NetworkKey::LEN]);
        random::fill(&mut bytes[..])?;
        let key = NetworkKey::from_bytes(&bytes);
        let protector = NewProtector::startup_key(ExternalKey::from_bytes(key.expose()))?;
        let mut stock = Sidecar::new(volume, protector.id(), certificate, &key)?;
        let trial = stock.take();
        let trial = trial.ok_or_else(|| uncreatable("there is no request to try it with"))?;
        stock.refill(&key)?;
        let secret = Secret::File(stock.encode(), sidecar.to_owned());
        Ok((Self::new(protector, secret), trial))
    }
}
