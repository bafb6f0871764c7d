# Sourced by scripts that build a program: builds kept outside the clone, in ~/.cache/voipavatar/bin.
# What is run from there must be this user's own, in a folder that nobody else can write to. Without
# a home there is no such folder: one in /tmp could be anybody's.

cache="${HOME:+$HOME/.cache/voipavatar/bin}"

ours() { # ours PATH: whether it is this user's, no link, and nobody else may write to it
  [ -n "$(find "$1" -prune ! -type l -user "$(id -u)" ! -perm -020 ! -perm -002 2>/dev/null)" ]
}

cached() { # cached NAME: the path of a kept program that can be trusted, or nothing
  [ -n "$cache" ] || return 0
  if ours "$cache" && ours "$cache/$1"; then echo "$cache/$1"; fi
}

keep_in_cache() { # keep_in_cache FILE NAME: for the next clone; says nothing where that fails
  [ -n "$cache" ] && (umask 077 && mkdir -p "$cache") 2>/dev/null && ours "$cache" || return 0
  # Not in one step: two clones may do this at the same time.
  cp "$1" "$cache/$2.$$" 2>/dev/null && chmod 755 "$cache/$2.$$" && mv "$cache/$2.$$" "$cache/$2" ||
    rm -f "$cache/$2.$$"
}
