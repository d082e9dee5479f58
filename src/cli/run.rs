//! What all commands have in common: their options can be run.

use crate::cli::failure::Failure;
use crate::cli::output::json;

/// The options of a command.
pub(crate) trait Run {
    /// Runs the command.
    fn run(&self) -> Result<(), Failure>;

    /// Formats a failure for `--json`.
    fn failure_document(&self) -> FailureDocument {
        json::failure
    }
}

/// Formats a failure as a JSON document.
pub(crate) type FailureDocument = fn(&Failure) -> String;

impl<T: Run> Run for Box<T> {
    fn run(&self) -> Result<(), Failure> {
        (**self).run()
    }

    fn failure_document(&self) -> FailureDocument {
        (**self).failure_document()
    }
}

/// An enum of commands that can build one of them without the others.
pub(crate) trait OneOf {
    /// The command with this name, with its options and without the text that describes it.
    fn named(name: &str) -> Option<clap::Command>;
}

/// Defines an enum of commands for clap, each with the word that names it, and the method that returns the chosen one.
macro_rules! commands {
    ($(#[$outer:meta])* $name:ident { $($(#[$meta:meta])* $word:literal $variant:ident($args:ty),)* }) => {
        $(#[$outer])*
        #[derive(Debug, clap::Subcommand)]
        pub(crate) enum $name {
            $($(#[$meta])* #[command(name = $word)] $variant($args),)*
        }

        impl $name {
            // The doc comment of a variant is its help text; on the match arm it is unused.
            #[allow(unused_doc_comments)]
            pub(crate) fn chosen(&self) -> &dyn $crate::cli::run::Run {
                match self {
                    $($(#[$meta])* Self::$variant(args) => args,)*
                }
            }
        }

        impl $crate::cli::run::OneOf for $name {
            #[allow(unused_doc_comments)]
            fn named(name: &str) -> Option<clap::Command> {
                $($(#[$meta])* if name == $word {
                    return Some(<$args as clap::Args>::augment_args(clap::Command::new($word)));
                })*
                None
            }
        }
    };
}
pub(crate) use commands;
