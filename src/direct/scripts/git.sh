
# Git with nothing that a repository, a user or the sandbox configured: LIMIT PROTOCOL WORD…
clean_git() {
  limit=$1 protocol=$2
  shift 2
  # At once, and also where nobody asks for it: a public repository would take any token. Git 2.46 and newer.
  case $authenticated in *@*) set -- -c http.proactiveAuth=basic "$@" ;; esac
  $launch "$limit" env -i PATH=/usr/local/bin:/usr/bin:/bin "HOME=$state/empty" LC_ALL=C "$mark" \
    GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_ATTR_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 \
    GIT_ASKPASS=/bin/false GIT_LFS_SKIP_SMUDGE=1 "GIT_ALLOW_PROTOCOL=$protocol" \
    "GIT_CEILING_DIRECTORIES=$state" \
    git -c credential.helper= -c core.askPass= -c core.hooksPath=/dev/null -c core.fsmonitor=false \
    -c submodule.recurse=false -c protocol.allow=never -c "protocol.$protocol.allow=always" \
    -c gc.auto=0 -c maintenance.auto=false -c advice.detachedHead=false -c init.defaultBranch=main \
    -c commit.gpgSign=false -c http.followRedirects=false -c "http.$origin/.followRedirects=false" \
    -c http.proxy= -c "http.$origin/.proxy=" -c http.sslVerify=true -c "http.$origin/.sslVerify=true" \
    -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=30 "$@"
}

# Shows the credential to the remote, outside of the workspace.
prove() {
  clean_git 60 "$scheme" -C "$state/empty" ls-remote -- "$authenticated"
}

# What git itself printed into a file, without what the server said and without URLs: both can hold any word.
own_words() {
  sed -e '/^[[:space:]]*remote:/d' -e 's/[^[:space:]]*:\/\/[^[:space:]]*//g' "$1" 2>/dev/null
}

# Whether a command that took so many seconds says that the remote refused the credential: FILE SECONDS. Git says so
# also of a server that asked for it and then said nothing until git gave up, after some 30 seconds.
is_refused() {
  [ "$2" -lt 27 ] && own_words "$1" | grep -qiF -e "$authentication"
}

# Git in the workspace, without a token in reach of what the workspace configures.
workspace_git() {
  clean_git 120 none "--git-dir=$repo/.git" "--work-tree=$repo" -c "user.name=$author_name" \
    -c "user.email=$author_email" "$@"
}

# Writes origin, and the new credential wherever git wrote the old one.
set_origin() {
  workspace_git config --unset-all remote.origin.pushurl
  workspace_git config --get-all remote.origin.fetch ||
    workspace_git config --add remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
  workspace_git config --replace-all remote.origin.url "$url" &&
    workspace_git remote set-url origin "$authenticated" || return
  case $old in
    *@*)
      # Percent-encoded, so only dots mean something to sed.
      old=${old#*://}
      old=$(printf '%s' "${old%%@*}@" | sed 's/[.]/[.]/g')
      new=''
      case $authenticated in *@*) new=${authenticated#*://} new=${new%%@*}@ ;; esac
      # Under the name of git's own lock: whatever is left of it is known for what it is.
      find "$repo/.git" -name config -type f -size -2048 -exec grep -qe "$old" {} \; -exec sh -c \
        'set -C; for file; do sed "$0" "$file" >"$file.lock" && mv -f -- "$file.lock" "$file" || exit; done' \
        "s/$old/$new/g" {} +
      ;;
  esac
}

# Puts the credential into force, unless a newer one is: origin then gets that one.
put_in_force() (
  flock 9
  newest=0 old=''
  read -r newest old 2>/dev/null <"$state/credential"
  if [ "$generation" -lt "${newest:-0}" ]; then
    newer=$old
    old=$authenticated
    authenticated=$newer
    generation=$newest
  fi
  # Before the workspace gets it: whoever reads the agent's output must know it.
  printf '%s %s\n' "$generation" "$authenticated" >"$state/credential.new" || exit 1
  if [ -d "$repo/.git" ]; then
    set_origin >/dev/null 2>&1 || { sleep 1; set_origin >/dev/null 2>&1; } || exit 1
  fi
  mv -f -- "$state/credential.new" "$state/credential"
) 9>"$state/lock"
