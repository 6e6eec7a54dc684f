// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line as it is written into the history: quoted, short, without secrets.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use bstr::{BStr, BString, ByteSlice};

use super::Tool;
use crate::db::DbName;
use crate::db::schema::Schema;

/// What stands for a secret.
const MASK: &str = "***";

/// Bytes of one argument that are kept; all of it is in the record anyway.
const MOST: usize = 120;

/// The command that `args` (without the program's name) are.
pub fn command_line(tool: Tool, args: &[OsString], schema: &Schema) -> BString {
    let mut words: Vec<BString> = args.iter().map(|arg| arg.as_bytes().into()).collect();
    let options = words.iter().take_while(|word| word.starts_with(b"--")).count();
    let at = match tool {
        Tool::Db => options + 1,
        Tool::Config => options,
    };
    let database = match tool {
        Tool::Db => words.get(options).cloned().unwrap_or_default(),
        Tool::Config => DbName::CONFIGURATION.into(),
    };
    mask(&mut words, at, &|key, property| schema.hides(&database.to_str_lossy(), key, property));
    let program = match tool {
        Tool::Db => "db",
        Tool::Config => "config",
    };
    let words = words.iter().map(quoted);
    bstr::join(" ", [program.into()].into_iter().chain(words)).into()
}

/// The database that `args` are about, when it is named, and the words after its name.
pub fn named(tool: Tool, args: &[OsString]) -> (Option<&str>, &[OsString]) {
    let options = args.iter().take_while(|arg| arg.as_bytes().starts_with(b"--")).count();
    match (tool, &args[options..]) {
        (Tool::Config, line) => (Some(DbName::CONFIGURATION), line),
        (Tool::Db, [name, line @ ..]) => (name.to_str(), line),
        (Tool::Db, []) => (None, &[]),
    }
}

/// Masks the secrets of the verb at place `at` and its arguments.
fn mask(words: &mut [BString], at: usize, hides: &dyn Fn(&BStr, Option<&BStr>) -> bool) {
    let Some((verb, arguments)) = words.get_mut(at..).and_then(<[_]>::split_first_mut) else {
        return;
    };
    let Some((key, arguments)) = arguments.split_first_mut() else { return };
    let props = match verb.as_slice() {
        b"set" | b"setdefault" | b"settype" => {
            let Some((kind, props)) = arguments.split_first_mut() else { return };
            // A raw text may hold any property.
            if kind.contains(&b'|') || hides(key.as_bstr(), None) {
                *kind = MASK.into();
            }
            props
        }
        b"setprop" => arguments,
        b"setjson" if *key != "-" => {
            *key = MASK.into();
            return;
        }
        _ => return,
    };
    for pair in props.chunks_mut(2) {
        if let [name, value] = pair
            && hides(key.as_bstr(), Some(name.as_bstr()))
        {
            *value = MASK.into();
        }
    }
}

/// The argument as a shell would take it, cut where it is long.
fn quoted(word: &BString) -> BString {
    let short: BString = if word.len() > MOST {
        [&word[..MOST], "…".as_bytes()].concat().into()
    } else {
        word.clone()
    };
    // A NUL cannot be in an argument.
    shlex::bytes::try_quote(&short).map_or_else(|_| short.clone(), |text| text.into_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tool: Tool, args: &[&str]) -> String {
        let args: Vec<_> = args.iter().map(OsString::from).collect();
        command_line(tool, &args, &Schema::new(None)).to_string()
    }

    #[test]
    fn secrets_are_masked_and_the_rest_can_be_pasted() {
        let db = |args: &[&str]| line(Tool::Db, args);
        assert_eq!(
            db(&["docker_containers", "setprop", "wp", "Secret_DB", "hunter2", "access", "public"]),
            "db docker_containers setprop wp Secret_DB '***' access public"
        );
        assert_eq!(
            db(&["--no-check", "docker_containers", "set", "wp", "service", "Env_A", "x y"]),
            "db --no-check docker_containers set wp service Env_A '***'"
        );
        assert_eq!(
            db(&["accounts", "setprop", "a", "Password", "x", "Note", "a b"]),
            "db accounts setprop a Password '***' Note 'a b'"
        );
        assert_eq!(db(&["t", "set", "k", "t|Password|x"]), "db t set k '***'");
        assert_eq!(db(&["t", "setjson", "{}"]), "db t setjson '***'");
        assert_eq!(
            line(Tool::Config, &["set", "RootPassword", "x"]),
            "config set RootPassword '***'"
        );
        assert_eq!(line(Tool::Config, &["set", "SystemName", "x"]), "config set SystemName x");
    }

    #[test]
    fn a_long_argument_is_cut() {
        let text = line(Tool::Db, &["t", "set", "k", &"x".repeat(5000)]);
        assert!(text.len() < 200 && text.ends_with("…'"), "{text}");
    }
}
