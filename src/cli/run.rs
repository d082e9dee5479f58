//! What every command is: options that can be carried out.

use crate::cli::failure::Failure;

/// A command with the options that it was given.
pub(crate) trait Run {
    /// Carries it out.
    fn run(&self) -> Result<(), Failure>;

    /// What a failure is as a JSON document, where standard output gets one document and nothing
    /// else.
    fn failure_document(&self) -> Option<FailureDocument> {
        None
    }
}

/// Makes the JSON document of a failure.
pub(crate) type FailureDocument = fn(&Failure) -> String;

impl<T: Run> Run for Box<T> {
    fn run(&self) -> Result<(), Failure> {
        (**self).run()
    }

    fn failure_document(&self) -> Option<FailureDocument> {
        (**self).failure_document()
    }
}

/// Commands side by side: an enumeration of their options for clap, and the one that was chosen.
macro_rules! commands {
    ($(#[$outer:meta])* $name:ident { $($(#[$meta:meta])* $variant:ident($args:ty),)* }) => {
        $(#[$outer])*
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum $name {
            $($(#[$meta])* $variant($args),)*
        }

        impl $name {
            // The help text of a variant is a doc comment, which its arm has no use for.
            #[allow(unused_doc_comments)]
            pub(crate) fn chosen(&self) -> &dyn $crate::cli::run::Run {
                match self {
                    $($(#[$meta])* Self::$variant(args) => args,)*
                }
            }
        }
    };
}
pub(crate) use commands;
