//! Looks at everything in a file system, up to a limit: properties, directories, links, streams, and
//! parts of the content of files.

use std::sync::Arc;

use fve::files::{self, FileId, FileName, FilePath, Files};

/// Most entries, and most streams of a file.
const MOST: usize = 300;

pub fn explore(disk: Vec<u8>) {
    let Ok(files) = files::open(Arc::new(disk)) else {
        return;
    };
    let _ = format!("{:?}", files.properties());
    let _ = files.free();
    let mut count = 0;
    for walked in files.walk(files.root(), FilePath::root()) {
        count += 1;
        if count > MOST {
            break;
        }
        let Ok(walked) = walked else { continue };
        file(&files, walked.entry.id);
        let _ = files.find(&walked.path);
        if let Ok(link) = files.link(walked.entry.id) {
            let _ = files.target(&walked.path, &link);
        }
    }
    for name in ["a", "HELLO.TXT", "large", "$MFT:stream", "compressed/text"] {
        let _ = files.find(&FilePath::parse(name));
    }
    for number in [0, 1, 5, 24, 1 << 40] {
        file(&files, FileId::from_number(number));
    }
}

fn file(files: &Files, id: FileId) {
    let _ = files.stat(id);
    let _ = files.depth(id);
    content(files, id, None);
    for stream in files.streams(id).iter().flatten().take(MOST) {
        content(files, id, Some(&stream.name));
    }
}

fn content(files: &Files, id: FileId, stream: Option<&FileName>) {
    let Ok(content) = files.open(id, stream) else {
        return;
    };
    let size = content.size();
    let mut buffer = [0; 20_000];
    for at in [0, size / 2, size.saturating_sub(buffer.len() as u64)] {
        let len = (size - at).min(buffer.len() as u64);
        let _ = content.read_exact_at(at, &mut buffer[..len as usize]);
        let stored = content.stored_from(at);
        assert!(stored.is_none_or(|range| range.end > at && range.start < range.end));
    }
}
