// SPDX-License-Identifier: GPL-2.0-or-later

//! Scripts and sysconfig files, read by dash and bash; strace counts what they start.

use std::path::Path;

use super::*;

/// What `shell` prints for `script`; it must be all that it does.
fn run(shell: &str, script: &Path) -> Vec<String> {
    let script = script.to_str().unwrap();
    let trace = format!("{script}.trace");
    let calls = "trace=execve,execveat,clone,clone3,fork,vfork,unlink,unlinkat,mkdir,rename";
    let printed = output("strace", &["-f", "-qq", "-o", &trace, "-e", calls, shell, script]);
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(trace.lines().count(), 1, "{shell} started something:\n{trace}");
    texts(&printed)
}

#[test]
fn dash_and_bash_read_back_every_value_and_start_nothing() {
    if !can_run(&["dash", "bash", "strace"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let head = "p() { printf '%s\\0' \"$@\"; }\n";
    for (name, line) in [
        ("bare", "p ¤\n"),
        ("inside", "p x¤y # $(\n"),
        ("assigned", "x=¤; p \"$x\"\n"),
        ("double", "p \"x¤y\"\n"),
        ("single", "p 'x¤y'\n"),
        ("both", "x=\"$HOME/$(:)\" y=`:`; p \"x\"¤'y'\n"),
        ("case", "case ¤ in ¤) p ¤ ;; esac\n"),
        ("comment", "p ¤ # ¤ $(touch evil)\n"),
    ] {
        let sheet = Sheet::new(Format::Shell, head, line, &values());
        let file = sheet.write(directory.path(), &format!("shell-{name}"));
        for shell in ["dash", "bash"] {
            let found = if name == "both" {
                texts(&output(shell, &[file.to_str().unwrap()]))
            } else {
                run(shell, &file)
            };
            let framed = matches!(name, "inside" | "double" | "single" | "both");
            sheet.assert_read(
                &found,
                |value| {
                    if framed { format!("x{value}y") } else { value.to_owned() }
                },
            );
        }
    }
}

#[test]
fn sysconfig_is_the_same_to_dash_bash_and_systemd() {
    if !can_run(&["dash", "bash", "strace"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, line) in [
        ("bare", "V№=¤\n"),
        ("double", "V№=\"¤\"\n"),
        ("single", "V№='¤'\n"),
        ("inside", "V№=\"x¤y\" \n"),
        ("word", "V№=x¤y\n"),
        ("comment", "# ¤\nV№=\"¤\"\n# ¤\n"),
    ] {
        let sheet = Sheet::new(Format::Sysconfig, "", line, &values());
        let lines = sheet.held.len() * line.matches('\n').count();
        assert_eq!(sheet.text.matches('\n').count(), lines, "a value makes another line");
        let file = sheet.write(directory.path(), &format!("sysconfig-{name}"));
        let framed = matches!(name, "inside" | "word");
        let expected = |value: &str| if framed { format!("x{value}y") } else { value.to_owned() };

        let variables = super::systemd::environment_file(&sheet.text);
        let (names, found): (Vec<String>, Vec<String>) = variables.into_iter().unzip();
        sheet.assert_read(&found, expected);
        let mut script = format!(". {}\nprintf '%s\\0'", file.display());
        for name in names {
            let _ = write!(script, " \"${name}\"");
        }
        let source = directory.path().join("source");
        std::fs::write(&source, script).unwrap();
        for shell in ["dash", "bash"] {
            sheet.assert_read(&run(shell, &source), expected);
        }
    }
}

/// What `shell` prints for `script`, whatever it thinks of it; it finds no program.
fn printed(shell: &Path, script: &str, directory: &Path) -> Vec<u8> {
    let head = "p() { printf '%s\\0' \"$@\"; }\n";
    let file = directory.join("script");
    std::fs::write(&file, format!("{head}{script}")).unwrap();
    let mut command = process::command(shell);
    command.arg(&file).current_dir(directory).env("PATH", "/nowhere");
    command.output().unwrap().stdout
}

/// Of these the scripts are made.
const PIECES: &[&str] = &[
    "p ",
    "p ",
    "¤",
    "¤",
    "¤",
    " ",
    "\n",
    "\"",
    "\"",
    "'",
    "'",
    "\\",
    "$",
    "$(",
    ")",
    "(",
    "`",
    "#",
    ";",
    "{",
    "}",
    "${HOME",
    "${x:-",
    "<<E\n",
    "<<-'E'\n",
    "\nE\n",
    "a",
    "=",
    "case a in a)",
    ";; esac",
    "$((1",
    "$HOME",
    "$'",
    "\t",
    "-",
    "[",
    "]",
    "!",
    "p \"",
    "p '",
    "\"$(p ",
    "\nEOF",
    "[[ ",
    " ]]",
    " -gt ",
    " && ",
    "x[",
    "]=",
    "x=(",
    "let ",
    "eval ",
    "declare -i ",
    "local -n ",
    "x=",
    "read ",
    "unset ",
    "printf -v ",
    "test -v ",
];
/// The value with which the others are compared.
const HARMLESS: &str = "qzq";

/// A script of random pieces, but for the number of a process, which is never the same.
fn script(random: &mut Random) -> String {
    let count = 3 + random.below(22);
    let script: String = (0..count).map(|_| PIECES[random.below(PIECES.len())]).collect();
    script.replace("$$", "$") + "\np end\n"
}

/// `script` with `value`, when it can have one.
fn with(script: &str, value: &str) -> Option<String> {
    Weaver::new(Format::Shell).weave(&script.replace('¤', &mark(value))).ok()
}

/// A script does with any value what it does with a harmless one.
#[test]
fn the_position_is_right_in_scripts_of_random_pieces() {
    if !can_run(&["dash", "bash"]) {
        return;
    }
    let shells: Vec<_> = ["dash", "bash"].into_iter().filter_map(process::find).collect();
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(0x5eed_0002);
    let (mut tried, mut wrong) = (0, Vec::new());
    // Nothing can be a part of another word, and NUL is in none.
    let values = values();
    for value in values.iter().filter(|value| !value.is_empty() && !value.contains('\0')) {
        let script = script(&mut random);
        let (Some(plain), Some(odd)) = (with(&script, HARMLESS), with(&script, value)) else {
            continue;
        };
        tried += usize::from(script.contains('¤'));
        for shell in &shells {
            let plain = printed(shell, &plain, directory.path());
            let expected = String::from_utf8_lossy(&plain).replace(HARMLESS, value);
            if expected != String::from_utf8_lossy(&printed(shell, &odd, directory.path())) {
                wrong.push(format!("{}: {script:?} with {value:?}", shell.display()));
            }
        }
    }
    assert!(tried > values.len() / 20, "only {tried} scripts took a value");
    assert!(wrong.is_empty(), "{} of {tried} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(!directory.path().join("evil").exists(), "a value was run");
}

/// Where bash computes what stands in quotes, or reads it a second time, and what would run something there.
const COMPUTED: &[(&str, &str)] = &[
    ("x[¤]=1\n", "a[$(>evil)]"),
    ("x[1 + ¤]+=1\n", "a[$(>evil)]"),
    ("x[\"¤\"]=1\n", "a[$(>evil)]"),
    ("x=([¤]=1)\n", "a[$(>evil)]"),
    ("echo $((1 + ¤))\n", "a[$(>evil)]"),
    ("echo \"$((¤))\"\n", "a[$(>evil)]"),
    ("((x = ¤))\n", "a[$(>evil)]"),
    ("for ((x = ¤; x < 9; x++)); do :; done\n", "a[$(>evil)]"),
    ("x=abc; echo ${x:¤}\n", "a[$(>evil)]"),
    ("x=abc; echo \"${x:1:¤}\"\n", "a[$(>evil)]"),
    ("x=(a); echo ${x[¤]}\n", "a[$(>evil)]"),
    ("let ¤\n", "a[$(>evil)]"),
    ("let \"x = ¤\"\n", "a[$(>evil)]"),
    ("builtin let 2>&1 x=¤\n", "a[$(>evil)]"),
    ("declare -i x=¤\n", "a[$(>evil)]"),
    ("declare -i \"x=¤\"\n", "a[$(>evil)]"),
    ("declare -xi x\nx=¤\n", "a[$(>evil)]"),
    ("declare -i x\nx+=¤\n", "a[$(>evil)]"),
    ("declare -i x\nfor x in ¤; do :; done\n", "a[$(>evil)]"),
    ("declare -i x\nread x <<< ¤\n", "a[$(>evil)]"),
    ("declare -ai x=(¤)\n", "a[$(>evil)]"),
    ("f() { local -i x=¤; }; f\n", "a[$(>evil)]"),
    ("typeset -n x=¤; : $x\n", "a[$(>evil)]"),
    ("declare -a x=¤\n", "($(>evil))"),
    ("declare -a x\ndeclare x=¤\n", "($(>evil))"),
    ("declare ¤\n", "a[$(>evil)]=1"),
    ("RANDOM=¤\n", "a[$(>evil)]"),
    ("OPTIND=¤\n", "a[$(>evil)]"),
    ("[[ ¤ -gt 1 ]]\n", "a[$(>evil)]"),
    ("[[ \"¤\" -gt 1 ]]\n", "a[$(>evil)]"),
    ("[[ 1 -eq ¤ ]]\n", "a[$(>evil)]"),
    ("[[ -n x && 1 -lt \"¤\" ]]\n", "a[$(>evil)]"),
    ("if [[ ! -v ¤ ]]; then :; fi\n", "a[$(>evil)]"),
    ("test -v ¤\n", "a[$(>evil)]"),
    ("[ -v \"¤\" ]\n", "a[$(>evil)]"),
    ("read ¤ <<< x\n", "a[$(>evil)]"),
    ("printf -v ¤ x\n", "a[$(>evil)]"),
    ("printf ¤ x\n", "-va[$(>evil)]"),
    ("declare -A x; unset ¤\n", "x[$(>evil)]"),
    ("eval ¤\n", ">evil"),
    ("eval echo \"a ¤\"\n", "$(>evil)"),
    ("command eval \\\n'¤'\n", ">evil"),
    ("if :; then eval &>/dev/null ¤; fi\n", ">evil"),
    ("eval \"$(:; :)\" ¤\n", ">evil"),
    ("trap ¤ EXIT\n", ">evil"),
    ("trap \"echo ¤\" EXIT\n", "$(>evil)"),
    ("bash -c ¤\n", ">evil"),
    ("env bash -ec \"echo ¤\"\n", "$(>evil)"),
    ("shopt -s expand_aliases\nalias x=¤\nx\n", ">evil"),
    ("PS4=¤; set -x; :\n", "$(>evil)"),
    ("cat <<E\n¤\nE\n", "$(>evil)"),
    ("mapfile -C ¤ -c 1 a <<< x\n", ">evil;:"),
    ("readarray -C \"echo ¤\" -c 1 a <<< x\n", "$(>evil)"),
    ("bash <<< ¤\n", ">evil"),
    ("bash 2>/dev/null <<< ¤\n", ">evil"),
    ("<<< ¤ bash\n", ">evil"),
    ("{ bash; } <<< ¤\n", ">evil"),
    ("(bash) <<< ¤\n", ">evil"),
    ("source /dev/stdin <<< ¤\n", ">evil"),
    (". /dev/stdin <<< \"¤\"\n", ">evil"),
    (". <(echo ¤)\n", ">evil"),
    (". <(case x in (a) ;; x) echo ¤ ;; esac)\n", ">evil"),
    ("source <(echo a; (echo ¤))\n", ">evil"),
    ("bash <(echo ¤)\n", ">evil"),
    ("bash < <(echo ¤)\n", ">evil"),
    ("env bash < <(echo ¤)\n", ">evil"),
    ("echo ¤ | bash\n", ">evil"),
    ("echo ¤|bash\n", ">evil"),
    ("if :; then echo x; echo ¤ | bash; fi\n", ">evil"),
    ("echo ¤ | { echo x | cat; bash; }\n", ">evil"),
    ("echo ¤ |\n  bash\n", ">evil"),
    ("echo ¤ | cat | env A=b bash -s\n", ">evil"),
    ("echo ¤ |& bash &\nwait\n", ">evil"),
    ("echo ¤ | { :; bash; }\n", ">evil"),
    ("{ echo x; echo ¤; } | bash 2>/dev/null\n", ">evil"),
    ("for x in ¤; do\necho $x\ndone | bash\n", ">evil"),
    ("(echo ¤; echo) | (bash)\n", ">evil"),
    ("echo ¤ | xargs -I% bash -c 'echo %'\n", "$(>evil)"),
    ("echo ¤ > >(bash); sleep 0.3\n", ">evil"),
    ("tee >(bash) <<< ¤ | cat; sleep 0.3\n", ">evil"),
    ("echo ¤ 2>/dev/null | . /dev/stdin\n", ">evil"),
    (">/dev/null eval ¤\n", ">evil"),
    ("set -x; for PS4 in ¤; do :; done\n", "$(>evil)"),
    ("read PS4 <<< ¤; set -x; :\n", "$(>evil)"),
    ("read PS4 < <(echo ¤); set -x; :\n", "$(>evil)"),
    ("mapfile PS4 <<< ¤; set -x; :\n", "$(>evil)"),
    ("printf -v PS4 %s ¤; set -x; :\n", "$(>evil)"),
    ("printf -vPS4 %s ¤; set -x; :\n", "$(>evil)"),
    ("HISTCMD=¤\n", "a[$(>evil)]"),
    ("for RANDOM in ¤; do :; done\n", "a[$(>evil)]"),
    ("read RANDOM <<< ¤\n", "a[$(>evil)]"),
    ("read RANDOM < <(echo ¤)\n", "a[$(>evil)]"),
    ("coproc eval ¤; wait\n", ">evil"),
    ("coproc bash <<< ¤; wait\n", ">evil"),
    ("while bash; do break; done <<< ¤\n", ">evil"),
    ("if bash; then :; fi <<< ¤\n", ">evil"),
    ("case x in x) bash ;; esac <<< ¤\n", ">evil"),
    ("f() { bash; }; f <<< ¤\n", ">evil"),
    ("f() { bash; }; echo ¤ | f\n", ">evil"),
    ("echo ¤ | while read x; do bash <<< \"$x\"; done\n", ">evil"),
    ("exec <<< ¤; bash\n", ">evil"),
    ("exec < <(echo ¤); bash\n", ">evil"),
    ("< <(echo ¤) bash\n", ">evil"),
    ("exec 3<<< ¤; . /dev/fd/3\n", ">evil"),
    (". /dev/fd/3 3<<< ¤\n", ">evil"),
    ("bash /dev/fd/3 3<<< ¤\n", ">evil"),
    ("exec 3> >(bash); echo ¤ >&3; sleep 0.3\n", ">evil"),
    ("exec 3> >(bash); echo ¤ > /dev/fd/3; sleep 0.3\n", ">evil"),
    ("exec > >(bash)\necho ¤; sleep 0.3\n", ">evil"),
    ("echo ¤ | xargs -0 bash -c\n", ">evil"),
    ("echo ¤ | xargs -d '\\n' sh -c\n", ">evil"),
    ("echo ¤ | $BASH\n", ">evil"),
    ("$BASH -c ¤\n", ">evil"),
    ("\"$BASH\" -c ¤\n", ">evil"),
    ("$(command -v bash) -c ¤\n", ">evil"),
    ("`command -v bash` -c ¤\n", ">evil"),
    ("${BASH} -ec ¤\n", ">evil"),
    ("echo ¤ | cat \"$(bash)\"\n", ">evil"),
    ("echo ¤ | x=$(bash)\n", ">evil"),
    ("echo ¤ | cat <(bash)\n", ">evil"),
    ("shopt -s expand_aliases; BASH_ALIASES[x]=¤\nx\n", ">evil"),
    ("shopt -s expand_aliases; BASH_ALIASES+=([x]=¤)\nx\n", ">evil"),
    ("env -S ¤\n", "touch evil"),
    ("echo ¤ > >(cat | bash); sleep 0.3\n", ">evil"),
    ("cat <(echo ¤) | tee >(cat | bash) >/dev/null; sleep 0.3\n", ">evil"),
    ("printf -v RANDOM %s ¤\n", "a[$(>evil)]"),
];

/// Where the same words mean nothing, or where there is a way to say it.
const NOT_COMPUTED: &[&str] = &[
    "[[ -n ¤ ]] && p ¤\n",
    "if [[ ¤ == \"$HOME\" && 2 -gt 1 ]]; then p; fi\n",
    "[ ¤ = x ] || p ¤\n",
    "case ¤ in [a-z]*) p ¤ ;; esac\n",
    "x=¤; p \"$x\"\n",
    "f() { local x=¤ y=\"a ¤\"; p \"$x\" \"$y\"; }; f\n",
    "export X=¤\n",
    "x=(¤ \"¤\"); p \"${x[@]}\"\n",
    "declare -a x=(¤); p \"${x[0]}\"\n",
    "read -r x <<< ¤; p \"$x\"\n",
    "printf '%s' ¤; p ¤\n",
    "echo let eval ¤ >/dev/null; p ¤\n",
    "bash -c 'printf %s \"$1\"' x ¤\n",
    "declare -i n=5; p ¤ $((n + 1))\n",
    "p ¤ | cat; p ¤ || bash -c :\n",
    "p ¤ && bash </dev/null\n",
    "p ¤; p | bash\n",
    "p ¤ | grep -q bash; cat >/dev/null <<< ¤\n",
    "p ¤ | sed s/a/b/ | tr a b >/dev/null; bash -c : x ¤\n",
    "x=¤; while read -r x; do p \"$x\"; done <<< \"$x\"\n",
    "mapfile -t x < <(p ¤); p \"${x[@]}\"\n",
    "if grep -q a <<< ¤; then p ¤ >&2 | tee -a /dev/null; fi\n",
    "IFS=: read -r x y < <(p x | bash; p ¤)\n",
    "echo ¤ > /dev/null; x=$(bash </dev/null)\n",
    "if p ¤; then p x | bash; fi\n",
    "p ¤ >/dev/null 2>&1; p x | bash\n",
    "case ¤ in a) p ¤ ;; *) p x ;; esac; p x | bash\n",
    "f() { p ¤; }\np x | bash\n",
    "diff <(p ¤) <(p ¤)\n",
    "printf '%s' RANDOM ¤; p ¤\n",
];

/// Runs `script` with bash: whether it made the file `evil`, and what it said.
fn evil(script: &str) -> (bool, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("script"), script).unwrap();
    let output =
        process::command("bash").arg("script").current_dir(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (directory.path().join("evil").exists(), said)
}

#[test]
fn where_bash_computes_nothing_but_a_number_gets_through() {
    if !can_run(&["bash"]) {
        return;
    }
    let mut wrong = Vec::new();
    for (template, value) in COMPUTED {
        // As a quoted word it does run something: else this line would show nothing.
        let before = template.split('¤').next().unwrap();
        let is_bare = before.matches(['"', '\'']).count() % 2 == 0;
        let is_read_twice = ["<<E", "$((", "((x", "${"].iter().any(|it| template.contains(it));
        let quoted = format!("'{value}'");
        let quoted = if is_bare && !is_read_twice { &quoted } else { *value };
        if !evil(&template.replace('¤', quoted)).0 {
            wrong.push(format!("harmless: {template:?} with {quoted}"));
        }
        if let Some(script) = with(template, value) {
            wrong.push(format!("taken: {script:?}"));
        }
        // What is a name or a command to bash takes no number either.
        let others = [
            "eval", "trap", "bash", "BASH", "xargs", "env -S", "alias", "<<E", "-v", "unset", "-C",
            "stdin", ". <", "source",
        ];
        let is_number = !others.iter().any(|word| template.contains(word));
        for number in ["0", "7", "-1"].into_iter().filter(|_| is_number) {
            let ran = with(template, number).map(|script| evil(&script));
            if !ran.as_ref().is_some_and(|(ran, said)| !ran && !said.contains("syntax error")) {
                wrong.push(format!("{template:?} with {number}: {ran:?}"));
            }
        }
        for odd in ["08", "1 ", "0x1", "1+1", "", "--1"] {
            let computes = is_number && template.contains(['[', '+']);
            if computes && with(template, odd).is_some() {
                wrong.push(format!("{template:?} took {odd:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn where_bash_does_not_compute_any_text_gets_through() {
    if !can_run(&["bash"]) {
        return;
    }
    let mut wrong = Vec::new();
    for template in NOT_COMPUTED {
        for value in ["a[$(>evil)]", "$(>evil)", "($(>evil))", "'", "7"] {
            let ran = with(template, value).map(|script| evil(&format!("p() {{ :; }}\n{script}")));
            if ran != Some((false, String::new())) {
                wrong.push(format!("{template:?} with {value}: {ran:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
