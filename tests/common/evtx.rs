//! A writer for small event logs (.evtx): one chunk and one template, according to the published
//! descriptions of the format. Two readers of other projects verify its output.

use std::collections::HashMap;

/// Sizes of the file header, of a chunk, and of its header, in bytes.
const FILE_HEADER: usize = 0x1000;
const CHUNK: usize = 0x1_0000;
const CHUNK_HEADER: usize = 0x200;

/// An event with one named value.
pub struct Event<'a> {
    pub provider: &'a str,
    pub id: u16,
    /// Time of the event, as a FILETIME.
    pub time: u64,
    /// Content of the value named `Volume`.
    pub volume: &'a str,
}

/// A log file with these events.
pub fn log(events: &[Event]) -> Vec<u8> {
    let mut chunk = Chunk {
        bytes: vec![0; CHUNK_HEADER],
        names: HashMap::new(),
        template: None,
    };
    let mut last = 0;
    for (number, event) in (1..).zip(events) {
        last = chunk.bytes.len();
        chunk.record(number, event);
    }
    let count = events.len() as u64;
    let free = chunk.bytes.len();
    assert!(free <= CHUNK, "too many events for one chunk");
    let mut chunk = chunk.bytes;
    chunk.resize(CHUNK, 0);
    let crc = crc32fast::hash(&chunk[CHUNK_HEADER..free]);
    put(&mut chunk, 0, b"ElfChnk\0");
    for (at, field) in [(8, 1), (16, count), (24, 1), (32, count)] {
        put(&mut chunk, at, &u64::to_le_bytes(field));
    }
    for (at, field) in [(40, 128), (44, last as u32), (48, free as u32), (52, crc)] {
        put(&mut chunk, at, &u32::to_le_bytes(field));
    }
    let mut covered = chunk[..120].to_vec();
    covered.extend(&chunk[128..CHUNK_HEADER]);
    let crc = crc32fast::hash(&covered);
    put(&mut chunk, 124, &crc.to_le_bytes());

    let mut file = vec![0; FILE_HEADER];
    put(&mut file, 0, b"ElfFile\0");
    put(&mut file, 24, &(count + 1).to_le_bytes());
    put(&mut file, 32, &128u32.to_le_bytes());
    for (at, field) in [(36, 1), (38, 3), (40, FILE_HEADER as u16), (42, 1)] {
        put(&mut file, at, &u16::to_le_bytes(field));
    }
    let crc = crc32fast::hash(&file[..120]);
    put(&mut file, 124, &crc.to_le_bytes());
    file.extend(chunk);
    file
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

/// Tokens of binary XML.
mod token {
    pub const END: u8 = 0x00;
    pub const OPEN: u8 = 0x01;
    pub const CLOSE_START: u8 = 0x02;
    pub const CLOSE_EMPTY: u8 = 0x03;
    pub const CLOSE: u8 = 0x04;
    pub const TEXT: u8 = 0x05;
    pub const ATTRIBUTE: u8 = 0x06;
    pub const TEMPLATE: u8 = 0x0C;
    pub const VALUE: u8 = 0x0D;
    pub const FRAGMENT: u8 = 0x0F;
    /// Flag of an element with attributes.
    pub const MORE: u8 = 0x40;
}

/// Types of values.
mod kind {
    pub const STRING: u8 = 0x01;
    pub const U8: u8 = 0x04;
    pub const U16: u8 = 0x06;
    pub const U64: u8 = 0x0A;
    pub const FILETIME: u8 = 0x11;
}

/// The content of an attribute or element.
enum Content {
    Text(&'static str),
    /// A value by its index in the list, and its type.
    Value(u16, u8),
}

struct Chunk {
    bytes: Vec<u8>,
    /// Offset of the first occurrence of each name.
    names: HashMap<&'static str, u32>,
    /// Offset of the template.
    template: Option<u32>,
}

impl Chunk {
    fn record(&mut self, number: u64, event: &Event) {
        let start = self.bytes.len();
        self.u32(0x2A2A);
        self.u32(0);
        self.bytes.extend(number.to_le_bytes());
        self.bytes.extend(event.time.to_le_bytes());
        self.fragment();
        self.bytes.extend([token::TEMPLATE, 1]);
        self.u32(0x0BDE_0001);
        match self.template {
            Some(place) => self.u32(place),
            None => {
                let place = self.bytes.len() as u32 + 4;
                self.u32(place);
                self.template = Some(place);
                self.template();
            }
        }
        self.values(&[
            (kind::STRING, utf16(event.provider)),
            (kind::U16, event.id.to_le_bytes().to_vec()),
            (kind::U8, vec![2]),
            (kind::FILETIME, event.time.to_le_bytes().to_vec()),
            (kind::U64, number.to_le_bytes().to_vec()),
            (kind::STRING, utf16("DESKTOP")),
            (kind::STRING, utf16(event.volume)),
        ]);
        self.bytes.push(token::END);
        while !(self.bytes.len() + 4 - start).is_multiple_of(8) {
            self.bytes.push(0);
        }
        let size = (self.bytes.len() + 4 - start) as u32;
        self.u32(size);
        put(&mut self.bytes, start + 4, &size.to_le_bytes());
    }

    fn template(&mut self) {
        self.u32(0);
        // Its identifier begins with the number of the template.
        self.u32(0x0BDE_0001);
        self.bytes.extend([0x5A; 12]);
        let size = self.bytes.len();
        self.u32(0);
        let start = self.bytes.len();
        self.fragment();
        let namespace = "http://schemas.microsoft.com/win/2004/08/events/event";
        self.open("Event", &[("xmlns", Content::Text(namespace))], |event| {
            event.open("System", &[], |system| {
                let value = Content::Value;
                let name = [("Name", value(0, kind::STRING))];
                system.empty("Provider", &name);
                system.leaf("EventID", value(1, kind::U16));
                system.leaf("Level", value(2, kind::U8));
                let time = [("SystemTime", value(3, kind::FILETIME))];
                system.empty("TimeCreated", &time);
                system.leaf("EventRecordID", value(4, kind::U64));
                system.leaf("Channel", Content::Text("System"));
                system.leaf("Computer", value(5, kind::STRING));
            });
            event.open("EventData", &[], |data| {
                let name = [("Name", Content::Text("Volume"))];
                data.open("Data", &name, |data| {
                    data.content(&Content::Value(6, kind::STRING));
                });
            });
        });
        self.bytes.push(token::END);
        let len = (self.bytes.len() - start) as u32;
        put(&mut self.bytes, size, &len.to_le_bytes());
    }

    fn fragment(&mut self) {
        self.bytes.extend([token::FRAGMENT, 1, 1, 0]);
    }

    fn leaf(&mut self, name: &'static str, content: Content) {
        self.open(name, &[], |element| element.content(&content));
    }

    fn empty(&mut self, name: &'static str, attributes: &[(&'static str, Content)]) {
        let size = self.start(name, attributes);
        self.bytes.push(token::CLOSE_EMPTY);
        self.close(size);
    }

    fn open(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, Content)],
        inside: impl FnOnce(&mut Self),
    ) {
        let size = self.start(name, attributes);
        self.bytes.push(token::CLOSE_START);
        inside(self);
        self.bytes.push(token::CLOSE);
        self.close(size);
    }

    /// Begins an element; gives the place of its size.
    fn start(&mut self, name: &'static str, attributes: &[(&'static str, Content)]) -> usize {
        let more = if attributes.is_empty() {
            0
        } else {
            token::MORE
        };
        self.bytes.push(token::OPEN | more);
        self.bytes.extend([0xFF, 0xFF]);
        let size = self.bytes.len();
        self.u32(0);
        self.name(name);
        if !attributes.is_empty() {
            let list = self.bytes.len();
            self.u32(0);
            for (name, content) in attributes {
                self.bytes.push(token::ATTRIBUTE);
                self.name(name);
                self.content(content);
            }
            let len = (self.bytes.len() - list - 4) as u32;
            put(&mut self.bytes, list, &len.to_le_bytes());
        }
        size
    }

    fn close(&mut self, size: usize) {
        let len = (self.bytes.len() - size - 4) as u32;
        put(&mut self.bytes, size, &len.to_le_bytes());
    }

    fn content(&mut self, content: &Content) {
        match content {
            Content::Text(text) => {
                self.bytes.extend([token::TEXT, kind::STRING]);
                self.bytes.extend((text.len() as u16).to_le_bytes());
                self.bytes.extend(utf16(text));
            }
            Content::Value(number, kind) => {
                self.bytes.push(token::VALUE);
                self.bytes.extend(number.to_le_bytes());
                self.bytes.push(*kind);
            }
        }
    }

    /// A name stands where it is first used; later uses point there.
    fn name(&mut self, name: &'static str) {
        if let Some(place) = self.names.get(name) {
            let place = *place;
            return self.u32(place);
        }
        let place = self.bytes.len() as u32 + 4;
        self.names.insert(name, place);
        self.u32(place);
        self.u32(0);
        let hash = name
            .encode_utf16()
            .fold(0u32, |hash, c| hash.wrapping_mul(65599) + u32::from(c));
        self.bytes.extend((hash as u16).to_le_bytes());
        self.bytes.extend((name.len() as u16).to_le_bytes());
        self.bytes.extend(utf16(name));
        self.bytes.extend([0, 0]);
    }

    fn values(&mut self, values: &[(u8, Vec<u8>)]) {
        self.u32(values.len() as u32);
        for (kind, value) in values {
            self.bytes.extend((value.len() as u16).to_le_bytes());
            self.bytes.extend([*kind, 0]);
        }
        for (_, value) in values {
            self.bytes.extend(value);
        }
    }

    fn u32(&mut self, field: u32) {
        self.bytes.extend(field.to_le_bytes());
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
