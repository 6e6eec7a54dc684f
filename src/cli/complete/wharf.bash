# bash completion for wharf, db, config and signal-event
_wharf() {
	local -a words
	mapfile -t words < <(wharf complete -- "${COMP_WORDS[@]:0:COMP_CWORD}" "${COMP_WORDS[COMP_CWORD]}" 2>/dev/null)
	COMPREPLY=()
	local word
	for word in "${words[@]}"; do
		COMPREPLY+=("$(printf '%q' "$word")")
	done
}
complete -F _wharf wharf db config signal-event
