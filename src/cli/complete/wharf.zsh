#compdef wharf db config signal-event
# zsh completion for wharf, db, config and signal-event
_wharf() {
	local -a found
	found=("${(@f)$(wharf complete -- "${(@)words[1,CURRENT-1]}" "${words[CURRENT]}" 2>/dev/null)}")
	found=("${(@)found:#}")
	compadd -- "${(@)found}"
}
if [ "$funcstack[1]" = _wharf ]; then
	_wharf "$@"
else
	compdef _wharf wharf db config signal-event
fi
