//! The numbers of files for the kernel.

use fuser::INodeNo;

use crate::files::FileId;

/// The number 0 of a file, which no inode can have. No file system has a file with this number.
const FOR_ZERO: u64 = u64::MAX;

/// Turns the numbers of files into inode numbers and back. They are the same, except that the kernel
/// requires 1 for the root directory and does not allow 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    root: u64,
}

impl Numbers {
    pub(super) fn new(root: FileId) -> Self {
        Self { root: root.number }
    }

    /// The inode number of a file. `None` for the number that no file has.
    pub(super) fn inode(self, file: FileId) -> Option<INodeNo> {
        if file.number == FOR_ZERO {
            return None;
        }
        Some(INodeNo(match self.swapped(file.number) {
            0 => FOR_ZERO,
            number => number,
        }))
    }

    /// The file with this inode number.
    pub(super) fn file(self, inode: INodeNo) -> FileId {
        FileId::from_number(match inode.0 {
            FOR_ZERO => self.swapped(0),
            number => self.swapped(number),
        })
    }

    /// The root directory and the file with the number 1 change places.
    fn swapped(self, number: u64) -> u64 {
        match number {
            1 => self.root,
            number if number == self.root => 1,
            number => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_an_inode_of_its_own() {
        for root in [0, 1, 2, 5, 1 << 40] {
            let numbers = Numbers::new(FileId::from_number(root));
            let mut seen = Vec::new();
            for number in [0, 1, 2, 5, 6, 1 << 40, u64::MAX - 1] {
                let file = FileId::from_number(number);
                let inode = numbers.inode(file).unwrap();
                assert_ne!(inode.0, 0);
                assert_eq!(inode == INodeNo::ROOT, number == root);
                assert_eq!(numbers.file(inode), file);
                assert!(!seen.contains(&inode));
                seen.push(inode);
            }
            assert!(numbers.inode(FileId::from_number(u64::MAX)).is_none());
        }
    }
}
