// SPDX-License-Identifier: GPL-2.0-or-later

use super::*;

fn of(text: &str) -> (Declared, Vec<String>) {
    let mut declared = Declared::default();
    let warnings = declared.read_lines("m", text).unwrap();
    (declared, warnings)
}

#[test]
fn every_known_name_is_read_quoted_or_not() {
    let (it, warnings) =
        of("TEMPLATE_PATH=\"/etc/a\"\nOUTPUT_FILENAME='/etc/b'\nOUTPUT_PREFIX=/srv\n\
         TEMPLATE_EXPAND_QUEUE=[ '/one', \"/two\" ]\nUID=\"admin\"\nGID=48\nPERMS=\"0640\";\n\
         DELETE=0\nMORE_DATA={ A => \"1\", B => 2 }\nFILTER=skip-comments\nFORMAT=apache\n\
         CHECK=\"sh -n {file}\"\nADJUST=httpd:reload\nON_EDIT=refuse\nOUTPUT_TYPE=\"file\"\n");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(it.template_path.as_deref(), Some("/etc/a"));
    assert_eq!(it.output_filename.as_deref(), Some("/etc/b"));
    assert_eq!(it.output_prefix.as_deref(), Some("/srv"));
    assert_eq!(it.queue, Some(vec!["/one".into(), "/two".into()]));
    assert_eq!((it.uid.as_deref(), it.gid.as_deref()), (Some("admin"), Some("48")));
    assert_eq!((it.perms, it.delete), (Some(0o640), false));
    let more = [("A", "1"), ("B", "2")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(it.more, BTreeMap::from(more));
    assert_eq!((it.filter, it.format), (Some(Filter::SkipComments), Some(Format::Apache)));
    assert_eq!(it.check.unwrap(), ["sh", "-n", "{file}"]);
    assert_eq!(it.adjust["httpd"], "reload");
    assert_eq!(it.on_edit, Some(OnEdit::Refuse));
}

#[test]
fn what_is_no_assignment_or_unknown_is_told_and_passed_over() {
    let (it, warnings) = of("# note\n\nPERMS=0600\nFOO=1\n");
    assert_eq!(it.perms, Some(0o600));
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert!(warnings[2].contains("line 4: FOO"), "{warnings:?}");
}

#[test]
fn a_name_that_stands_twice_is_told() {
    let (it, warnings) =
        of("PERMS=0600\nUID=4294967294\nADJUST='getty@tty1:restart'\nPERMS=0644\n");
    assert_eq!((it.perms, it.uid.as_deref()), (Some(0o644), Some("4294967294")));
    assert_eq!(it.adjust["getty@tty1"], "restart");
    assert_eq!(warnings, ["m: PERMS is on line 1 and on line 4; the latter counts"]);
}

#[test]
fn a_comma_and_a_comment_count_outside_of_quotes() {
    let (it, warnings) = of("PERMS=0644 # comment\nOUTPUT_PREFIX=\"\"\n\
         MORE_DATA={ A => \"1, 2 # 3\", B => '4' } # both\nCHECK='grep -q \"#\" {file}'\nGID=\"48\"; # x\n");
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((it.perms, it.output_prefix.clone()), (Some(0o644), None));
    assert_eq!((it.more["A"].as_str(), it.more["B"].as_str()), ("1, 2 # 3", "4"));
    assert_eq!((it.check.unwrap()[2].as_str(), it.gid.as_deref()), ("#", Some("48")));
}

#[test]
fn perl_is_refused_by_name_and_line() {
    for (text, name) in [
        ("UID=getpwnam('a')", "UID"),
        ("\nFILTER=sub { $_[0] }", "FILTER"),
        ("OUTPUT_FILENAME=\"/etc/$x\"", "OUTPUT_FILENAME"),
        ("PERMS=rw", "PERMS"),
        ("UID=4294967295", "numbers end at 4294967294"),
        ("GID=99999999999999999999", "GID"),
        ("ADJUST=../x:restart", "\"../x\" is no service"),
        ("ADJUST=-f:restart", "no service"),
        ("ADJUST=x:sigfoo", "no verb \"sigfoo\""),
        ("ADJUST=\"x:restart", "ADJUST"),
        ("FILTER=\"skip-empty trim-end\"", "several filters"),
    ] {
        let error = Declared::default().read_lines("m", text).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.line, text.lines().count() as u64, "{error}");
    }
}

#[test]
fn front_matter_says_what_the_template_needs() {
    let mut it = Declared::default();
    it.read_front(
        "f",
        "{#---\nformat: sysconfig\nneeds: [configuration/a]\n\
         defaults: { configuration/a/b: '1' }\ncheck: sh -n {file}\nadjust: { cron: restart }\n\
         on-edit: refuse\n---#}\nX=1\n",
    )
    .unwrap();
    assert_eq!(it.format, Some(Format::Sysconfig));
    assert_eq!(it.needs, ["configuration/a"]);
    assert_eq!(it.defaults["configuration/a/b"], "1");
    assert_eq!((it.adjust["cron"].as_str(), it.on_edit), ("restart", Some(OnEdit::Refuse)));
    assert_eq!(Declared::default().read_front("f", "---\nformat: x\n"), Ok(()));
}

#[test]
fn front_matter_that_is_wrong_is_told_with_its_line() {
    let wrong = |text: &str| Declared::default().read_front("f", text).unwrap_err();
    let error = wrong("{#---\nformat: apache\nformt: x\n---#}\n");
    assert_eq!(error.line, 3, "{error}");
    assert!(wrong("{#---\nformat: perl\n---#}").to_string().contains("there is: "));
    assert!(wrong("{#---\nadjust: { a: relaod }\n---#}").to_string().contains("relaod"));
    assert!(wrong("{#---\nadjust: { ../x: restart }\n---#}").to_string().contains("no service"));
    assert!(wrong("{#---\nneeds: [a]\n---#}").to_string().contains("configuration/KEY"));
}

#[test]
fn a_service_is_named_with_or_without_its_end_and_with_its_instance() {
    let (it, _) = of("ADJUST=\"x.service:restart y@z.service:sigwinch a@b:reload\"\n");
    let expected = [("a@b", "reload"), ("x", "restart"), ("y@z", "sigwinch")];
    let found = it.adjust.iter().map(|(unit, verb)| (unit.as_str(), verb.as_str()));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let (it, _) = of("ADJUST=x@y:restart\n");
    assert_eq!(it.adjust["x@y"], "restart");
    let mut it = Declared::default();
    it.read_front("f", "{#---\nadjust: { x.service: restart }\n---#}\n").unwrap();
    assert_eq!(it.adjust["x"], "restart");
}
