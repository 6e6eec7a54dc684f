# fish completion for wharf, db, config and signal-event
function __wharf_complete
	set -l words (commandline -opc)
	set -l part (commandline -ct)
	wharf complete -- $words "$part" 2>/dev/null
end
for program in wharf db config signal-event
	complete -c $program -f -a '(__wharf_complete)'
end
