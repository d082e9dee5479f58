//! Replaces `network` in a build without Network Unlock: no options, and never a protector.

use clap::Args;
use fve::enroll::Enrollment;
use fve::guid::Guid;
use fve::unlock::Credential;
use fve::volume::Volume;

use crate::cli::failure::Failure;
use crate::cli::options::credentials::CredentialArgs;

#[derive(Debug, Clone, Args)]
pub(crate) struct NewNetworkArgs {}

#[derive(Debug, Clone, Args)]
pub(crate) struct NewNetworkVolumeArgs {}

impl NewNetworkVolumeArgs {
    pub(crate) fn is_given(&self) -> bool {
        false
    }

    pub(crate) fn enrollment(&self, _volume: Guid) -> Result<Option<NewNetwork>, Failure> {
        Ok(None)
    }
}

impl NewNetworkArgs {
    pub(crate) fn is_given(&self) -> bool {
        false
    }

    pub(crate) fn rest_of(&self, credentials: &CredentialArgs) -> CredentialArgs {
        credentials.clone()
    }

    pub(crate) fn enrollment(
        &self,
        _credentials: &CredentialArgs,
        _volume: Guid,
    ) -> Result<Option<NewNetwork>, Failure> {
        Ok(None)
    }
}

/// A new protector. No value of this type is ever made.
pub(crate) struct NewNetwork {
    pub(crate) enrollment: Enrollment,
    pub(crate) proof: NetworkProof,
}

pub(crate) enum NetworkProof {}

impl NetworkProof {
    pub(crate) fn succeeded(&self) -> bool {
        match *self {}
    }

    pub(crate) fn credential(&self) -> Option<Box<dyn Credential>> {
        match *self {}
    }

    pub(crate) fn verify(&self, _volume: &Volume, _protector: Guid) -> Result<(), Failure> {
        match *self {}
    }

    pub(crate) fn report(&self, _protector: Guid) {
        match *self {}
    }

    pub(crate) fn require(&self) -> Result<(), Failure> {
        match *self {}
    }
}
