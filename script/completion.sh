# Completion of monitor.py and controller.py in bash and zsh: options, values, interfaces, and the
# pids and ports of running instances.  Source it from ~/.bashrc or ~/.zshrc:
#
#     . /opt/vtap/script/completion.sh
#
# shellcheck shell=bash

if [ -n "${ZSH_VERSION-}" ]; then
	autoload -U compinit bashcompinit
	[ -n "${_comps-}" ] || compinit
	bashcompinit
fi
# argcomplete's own, so that it fits the version that answers; Ubuntu 22.04 has it with a 3.
if command -v register-python-argcomplete >/dev/null; then
	eval "$(register-python-argcomplete monitor.py controller.py)"
elif command -v register-python-argcomplete3 >/dev/null; then
	eval "$(register-python-argcomplete3 monitor.py controller.py)"
fi
