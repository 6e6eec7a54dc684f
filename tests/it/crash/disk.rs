// SPDX-License-Identifier: GPL-2.0-or-later

//! A model of a disk that forgets: what files and names may be there after a power cut.
//!
//! It is as forgetful as POSIX allows. What was written is sure after `fsync` of the file, a name that
//! was made, moved or removed is sure after `fsync` of its directory. Until then each write may be
//! kept, lost or torn, and each change of a name kept or lost, in any order. The index of an `SQLite`
//! log (`-shm`) is memory of running processes and never survives.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Tree;
use super::trace::Call;

/// Up to so many changes of names, every choice of them is tried; of more, those that come first.
const CHOICES: usize = 3;

/// A path below the state directory, with what it is.
type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug)]
pub(super) struct Disk {
    top: PathBuf,
    nodes: Vec<Node>,
    /// As running processes see them.
    names: Names,
    /// As they are surely on the disk.
    sure: Names,
    /// What happened to names since their directory was flushed.
    renamed: Vec<Renamed>,
    open: BTreeMap<i64, Handle>,
}

/// A file or directory.
#[derive(Debug, Default)]
struct Node {
    is_directory: bool,
    live: Vec<u8>,
    sure: Vec<u8>,
    /// What happened to the content since it was flushed.
    edits: Vec<Edit>,
}

#[derive(Clone, Debug)]
enum Edit {
    Write { at: usize, data: Vec<u8> },
    Cut(usize),
}

/// Names of one directory that changed at once; `None`: no longer there.
#[derive(Debug)]
struct Renamed {
    directory: PathBuf,
    names: Vec<(PathBuf, Option<usize>)>,
}

#[derive(Debug)]
struct Handle {
    path: PathBuf,
    node: usize,
    at: usize,
    appends: bool,
}

/// What became of the edits that were not flushed.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Lost,
    Kept,
    /// The last one was faster than those before it.
    OnlyLast,
    /// Of each write, some blocks of so many bytes are on the disk.
    Torn(usize),
    /// Each file has a fate of its own.
    Mixed,
}

const FATES: [Fate; 6] =
    [Fate::Lost, Fate::Kept, Fate::OnlyLast, Fate::Torn(512), Fate::Torn(4096), Fate::Mixed];

impl Disk {
    /// A disk on which everything of `tree`, the content of `top`, is flushed.
    pub(super) fn new(top: &Path, tree: &Tree) -> Self {
        let top_node = Node { is_directory: true, ..Node::default() };
        let mut nodes = vec![top_node];
        let mut names = Names::from([(PathBuf::new(), 0)]);
        for (path, content) in &tree.0 {
            names.insert(path.clone(), nodes.len());
            let bytes = content.clone().unwrap_or_default();
            let is_directory = content.is_none();
            nodes.push(Node { is_directory, live: bytes.clone(), sure: bytes, edits: Vec::new() });
        }
        let (top, sure) = (top.to_owned(), names.clone());
        Self { top, nodes, names, sure, renamed: Vec::new(), open: BTreeMap::new() }
    }

    /// Does what `call` did; whether it concerned this disk.
    pub(super) fn apply(&mut self, call: &Call) -> bool {
        let Some(result) = call.result.filter(|result| *result >= 0) else { return false };
        match call.name.as_str() {
            "openat" => return self.open(call, result),
            "close" => return self.open.remove(&call.number_at(0)).is_some(),
            "mkdir" => return self.make(call, 0, true),
            "mkdirat" => return self.make(call, 1, true),
            "unlink" => return self.remove(call, 0),
            "unlinkat" => return self.remove(call, 1),
            "rename" => return self.rename(call, 0, 1),
            "renameat" | "renameat2" => return self.rename(call, 1, 3),
            "link" => return self.link(call, 0, 1),
            _ => {}
        }
        if !call.concerns(&self.top) {
            return false;
        }
        let Some(handle) = self.open.get(&call.number_at(0)) else {
            let harmless = ["mmap", "chmod", "chown", "fchmodat", "fchownat"];
            assert!(harmless.contains(&call.name.as_str()), "not in the model: {call:?}");
            return self.map(call);
        };
        let (node, at, appends) = (handle.node, handle.at, handle.appends);
        match call.name.as_str() {
            "write" => {
                let at = if appends { self.nodes[node].live.len() } else { at };
                let end = self.write(node, at, call.bytes_at(1), result);
                self.open.get_mut(&call.number_at(0)).unwrap().at = end;
            }
            "pwrite64" => {
                let at = usize::try_from(call.number_at(3)).unwrap();
                self.write(node, at, call.bytes_at(1), result);
            }
            "lseek" => {
                let handle = self.open.get_mut(&call.number_at(0)).unwrap();
                handle.at = usize::try_from(result).unwrap();
            }
            "ftruncate" => {
                let length = usize::try_from(call.number_at(1)).unwrap();
                self.edit(node, Edit::Cut(length));
            }
            "fsync" | "fdatasync" => self.flush(node, call),
            "flock" | "fcntl" | "fchmod" | "fchown" => return false,
            _ => panic!("not in the model: {call:?}"),
        }
        true
    }

    /// A mapping that is written to would go past the model; only the index of a log may be one.
    fn map(&self, call: &Call) -> bool {
        let is_written = call.name == "mmap"
            && call.args[2].contains("PROT_WRITE")
            && call.args[3].contains("MAP_SHARED");
        let fd = if is_written { call.number_at(4) } else { -1 };
        if let Some(handle) = self.open.get(&fd) {
            assert!(is_index(&handle.path), "not in the model: {call:?}");
        }
        false
    }

    /// The path that argument `at` names, if it lies on this disk; the one before it is what a
    /// relative path starts at.
    fn path(&self, call: &Call, at: usize) -> Option<PathBuf> {
        let path = PathBuf::from(std::ffi::OsString::from_vec(call.bytes_at(at)));
        if let Ok(below) = path.strip_prefix(&self.top) {
            return Some(below.to_owned());
        }
        if path.is_absolute() || at == 0 {
            return None;
        }
        let start = self.open.get(&call.args[at - 1].split('<').next()?.parse().ok()?)?;
        Some(start.path.join(path))
    }

    fn open(&mut self, call: &Call, fd: i64) -> bool {
        self.open.remove(&fd);
        let Some(path) = self.path(call, 1) else { return false };
        let flags: Vec<_> = call.args[2].split('|').collect();
        assert!(!flags.contains(&"O_TMPFILE"), "not in the model: {call:?}");
        if !self.names.contains_key(&path) {
            assert!(flags.contains(&"O_CREAT"), "opened, but not there: {call:?}");
            self.make(call, 1, false);
        }
        let node = self.names[&path];
        if flags.contains(&"O_TRUNC") {
            self.edit(node, Edit::Cut(0));
        }
        let appends = flags.contains(&"O_APPEND");
        self.open.insert(fd, Handle { path, node, at: 0, appends });
        true
    }

    fn make(&mut self, call: &Call, at: usize, is_directory: bool) -> bool {
        let Some(path) = self.path(call, at) else { return false };
        self.nodes.push(Node { is_directory, ..Node::default() });
        let node = self.nodes.len() - 1;
        self.name(&path.clone(), vec![(path, Some(node))]);
        true
    }

    fn remove(&mut self, call: &Call, at: usize) -> bool {
        let Some(path) = self.path(call, at) else { return false };
        self.name(&path.clone(), vec![(path, None)]);
        true
    }

    fn rename(&mut self, call: &Call, from: usize, to: usize) -> bool {
        let (Some(from), Some(to)) = (self.path(call, from), self.path(call, to)) else {
            assert!(!call.concerns(&self.top), "not in the model: {call:?}");
            return false;
        };
        assert_eq!(from.parent(), to.parent(), "not in the model: {call:?}");
        assert!(!call.args.last().unwrap().contains("EXCHANGE"), "not in the model: {call:?}");
        let node = self.names[&from];
        self.name(&to.clone(), vec![(from, None), (to, Some(node))]);
        true
    }

    fn link(&mut self, call: &Call, from: usize, to: usize) -> bool {
        let (Some(from), Some(to)) = (self.path(call, from), self.path(call, to)) else {
            return false;
        };
        let node = self.names[&from];
        self.name(&to.clone(), vec![(to, Some(node))]);
        true
    }

    /// Changes `names`, all in the directory of `path`.
    fn name(&mut self, path: &Path, names: Vec<(PathBuf, Option<usize>)>) {
        rename_in(&mut self.names, &names);
        let directory = path.parent().unwrap().to_owned();
        self.renamed.push(Renamed { directory, names });
    }

    fn write(&mut self, node: usize, at: usize, mut data: Vec<u8>, result: i64) -> usize {
        data.truncate(usize::try_from(result).unwrap());
        let end = at + data.len();
        self.edit(node, Edit::Write { at, data });
        end
    }

    fn edit(&mut self, node: usize, edit: Edit) {
        let node = &mut self.nodes[node];
        edit_in(&mut node.live, &edit);
        node.edits.push(edit);
    }

    fn flush(&mut self, node: usize, call: &Call) {
        let path = self.open[&call.number_at(0)].path.clone();
        let node = &mut self.nodes[node];
        node.sure.clone_from(&node.live);
        node.edits.clear();
        if node.is_directory {
            self.renamed.retain(|renamed| {
                let here = renamed.directory == path;
                if here {
                    rename_in(&mut self.sure, &renamed.names);
                }
                !here
            });
        }
    }

    /// What running processes see.
    pub(super) fn live(&self) -> Tree {
        self.tree(&self.names, Fate::Kept, 0)
    }

    /// What is left when all is lost that was not flushed.
    pub(super) fn flushed(&self) -> Tree {
        self.tree(&self.sure, Fate::Lost, 0)
    }

    /// Everything that may be left; what is torn differs by `seed`.
    pub(super) fn remains(&self, seed: usize) -> BTreeSet<Tree> {
        let mut trees = BTreeSet::new();
        for names in self.possible_names() {
            for fate in FATES {
                trees.insert(self.tree(&names, fate, seed));
            }
        }
        trees
    }

    /// The names with each choice of the changes that were not flushed, in the order in which they
    /// came; of many changes, with the first ones and with all but one.
    fn possible_names(&self) -> BTreeSet<Names> {
        let count = self.renamed.len();
        let mut choices = Vec::new();
        if count <= CHOICES {
            choices.extend(
                (0..1_usize << count)
                    .map(|bits| (0..count).filter(|at| bits >> at & 1 == 1).collect::<Vec<_>>()),
            );
        } else {
            choices.extend((0..=count).map(|end| (0..end).collect()));
            choices.extend((0..count).map(|left| (0..count).filter(|at| *at != left).collect()));
        }
        let with = |choice: Vec<usize>| {
            let mut names = self.sure.clone();
            for at in choice {
                rename_in(&mut names, &self.renamed[at].names);
            }
            names
        };
        choices.into_iter().map(with).collect()
    }

    fn tree(&self, names: &Names, fate: Fate, seed: usize) -> Tree {
        let mut tree = Tree::default();
        for (path, number) in names {
            let node = &self.nodes[*number];
            // What lies in a directory that is lost is lost with it.
            let has_place = path.parent().is_some_and(|above| {
                above == Path::new("") || matches!(tree.0.get(above), Some(None))
            });
            if has_place && !is_index(path) {
                let content = || node.after(fate, &(seed, number));
                tree.0.insert(path.clone(), (!node.is_directory).then(content));
            }
        }
        tree
    }
}

impl Node {
    /// The content after a power cut.
    fn after(&self, fate: Fate, seed: &impl Hash) -> Vec<u8> {
        let mut content = self.sure.clone();
        match fate {
            Fate::Lost => {}
            Fate::Kept => content.clone_from(&self.live),
            Fate::OnlyLast => {
                if let Some(last) = self.edits.last() {
                    edit_in(&mut content, last);
                }
            }
            Fate::Torn(unit) => {
                for (at, edit) in self.edits.iter().enumerate() {
                    for block in torn(edit, unit, &(seed, at)) {
                        edit_in(&mut content, &block);
                    }
                }
            }
            Fate::Mixed => {
                let at = usize::try_from(hash(seed) % 5).unwrap();
                content = self.after(FATES[at], seed);
            }
        }
        content
    }
}

/// The blocks of an edit that reached the disk; where a block begins is counted in the file.
fn torn(edit: &Edit, unit: usize, seed: &impl Hash) -> Vec<Edit> {
    let is_kept = |block: usize| hash(&(seed, block)).is_multiple_of(2);
    let Edit::Write { at, data } = edit else {
        return if is_kept(0) { vec![edit.clone()] } else { Vec::new() };
    };
    let end = at + data.len();
    let blocks = at / unit..end.div_ceil(unit);
    blocks
        .filter(|block| is_kept(*block))
        .map(|block| {
            let (from, to) = ((block * unit).max(*at), ((block + 1) * unit).min(end));
            Edit::Write { at: from, data: data[from - at..to - at].to_vec() }
        })
        .collect()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn edit_in(content: &mut Vec<u8>, edit: &Edit) {
    match edit {
        Edit::Cut(length) => content.resize(*length, 0),
        Edit::Write { at, data } => {
            let end = at + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*at..end].copy_from_slice(data);
        }
    }
}

fn rename_in(names: &mut Names, changes: &[(PathBuf, Option<usize>)]) {
    for (path, node) in changes {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

/// Whether this is the index of an `SQLite` log.
fn is_index(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}

#[test]
fn the_disk_forgets_what_was_not_flushed_and_nothing_else() {
    let top = Path::new("/top");
    let mut disk = Disk::new(top, &Tree::default());
    let here = |text: &str| PathBuf::from(text);
    disk.nodes.push(Node::default());
    disk.name(&here("t"), vec![(here("t"), Some(1))]);
    disk.edit(1, Edit::Write { at: 0, data: vec![b'x'; 1024] });
    let remains = disk.remains(0);
    assert!(remains.contains(&Tree::default()), "a name that was not flushed may be lost");
    assert!(remains.iter().any(|tree| tree.0.get(&here("t")) == Some(&Some(Vec::new()))));
    assert!(remains.contains(&disk.live()));
    let content = |tree: &Tree| tree.0.get(&here("t")).cloned().flatten().unwrap_or_default();
    let is_torn = |tree: &Tree| content(tree).contains(&b'x') && content(tree) != vec![b'x'; 1024];
    assert!((0..9).any(|seed| disk.remains(seed).iter().any(is_torn)), "a write may be torn");

    let node = &mut disk.nodes[1];
    node.sure.clone_from(&node.live);
    node.edits.clear();
    rename_in(&mut disk.sure, &disk.renamed.remove(0).names);
    assert_eq!(disk.remains(0), BTreeSet::from([disk.live()]));
    assert_eq!(disk.flushed(), disk.live());
}
