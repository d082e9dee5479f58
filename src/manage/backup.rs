//! Backups of a volume's metadata.
