# Prepares the workspace, runs the agent of one turn and publishes its work. What it was and how it ended is written to
# the file of records, one line for each event, beginning with the length of the agent's output at that moment.
turn=$state/turns/$message
run=$turn/$submission
launch=limited
mark=SESSION_ID=$session
child=''
stopped=''
code=0
seconds=0

record() {
  printf '%s %s\n' "$(size "$run/output")" "$*" >>"$run/records"
}

# Ends the turn: STATE RECORD…
finish() {
  word=$1
  shift
  record "$*"
  echo "$word" >"$run/ended"
  rm -f -- "$run/script" "$run/input" "$run/candidate" "$run/printed" "$run/answer"
  exit 0
}

# Ends the turn because an operation failed: OPERATION [NUMBER]. What was printed is judged by whoever reads the record.
fail() {
  [ -z "$is_cold" ] || remove_workspace
  [ -z "$stopped" ] || finish interrupted interrupted
  printed=$(own_words "$run/printed" | tail -c 2048 | base64 | tr -d '\n')
  finish failed failed "$stage" "$1" "${2:-0}" "$in_force" "$code" "$seconds" "${printed:--}"
}

# Stops what is waited for.
stop() {
  stopped=1
  [ -z "$child" ] || kill -s TERM -- "-$child" 2>/dev/null || kill -s TERM "$child" 2>/dev/null
}

# Runs a command as a process group of its own, which is recorded: LIMIT COMMAND… Sets how it ended: 124 at its limit.
limited() {
  limit=$1
  shift
  began=$(date +%s)
  setsid timeout -k 5 "$limit" "$@" <&3 3<&- &
  child=$!
  echo "$child" >"$run/group"
  [ -z "$stopped" ] || stop
  while
    wait "$child"
    code=$?
    kill -s 0 "$child" 2>/dev/null
  do :; done
  # Whatever stayed in the group ends with it.
  kill -s KILL -- "-$child" 2>/dev/null
  rm -f -- "$run/group"
  child=''
  seconds=$(($(date +%s) - began))
  [ "$seconds" -lt "$limit" ] || code=124
  return "$code"
}

remove_workspace() {
  rm -f -- "$state/complete" "$state/published"
  chmod -R u+rwX -- "$repo" "$home" "$base/clone" 2>/dev/null
  rm -rf -- "$repo" "$home" "$base/clone" "$state/push.git"
}

prepare() {
  if [ -e "$state/complete" ] && [ -d "$repo/.git" ]; then
    prepare_warm
  else
    is_cold=1
    prepare_cold
    is_cold=''
  fi
}

prepare_warm() {
  cold=0
  # One that is left was left by what is gone.
  find "$repo/.git" -name config.lock -type f -delete
  cd "$repo" || fail local
  [ "$(cat "$state/complete")" = "$url" ] || fail local
  newest=''
  read -r newest old 2>/dev/null <"$state/credential"
  if [ "$newest" != "$generation" ]; then
    record preparing prove_credential
    prove >/dev/null 2>"$run/printed" || fail transfer
  fi
  rewrite_origin
}

rewrite_origin() {
  record preparing rewrite_origin
  put_in_force || fail local
  # A newer credential may have been pushed meanwhile.
  read -r in_force authenticated <"$state/credential"
}

prepare_cold() {
  cold=1
  remove_workspace
  record preparing clone
  set -- clone --no-checkout --no-recurse-submodules --template= --origin=origin
  [ -z "$shallow" ] || set -- "$@" --depth=1
  cd "$state/empty" || fail local
  clean_git 300 "$scheme" "$@" -- "$authenticated" "$base/clone" 2>"$run/printed" || fail transfer
  check_out "$base/clone"
  mkdir -p -- "$home" "$base/attachments" && mv -- "$base/clone" "$repo" && cd "$repo" || fail local
  workspace_git rev-parse --verify --quiet --end-of-options HEAD >"$state/published"
  workspace_git config user.name "$author_name"
  workspace_git config user.email "$author_email"
  rewrite_origin
  number=0
  [ "$setup_count" = 0 ] || record preparing setup
  while [ "$number" -lt "$setup_count" ]; do
    number=$((number + 1))
    cd "$repo" || fail local
    limited 300 sh "$run/script" setup "$number" >"$run/printed" 2>&1
    end_strays
    [ "$code" -eq 0 ] || fail setup "$number"
  done
  printf '%s' "$url" >"$state/complete" || fail local
}

# Checks the right branch out in a fresh clone.
check_out() {
  start=''
  if [ "$branch_kind" = pull_request ]; then
    fetch "$1" "$branch" || fail transfer
    start=FETCH_HEAD
  else
    find_branch "$1"
  fi
  record preparing checkout
  if [ -z "$start" ]; then
    # The remote is empty: the first commit makes the branch.
    clean_git 120 none -C "$1" symbolic-ref HEAD "refs/heads/$branch" 2>"$run/printed" || fail local
  else
    clean_git 300 none -C "$1" checkout --force -B "$branch" "$start" -- >/dev/null 2>"$run/printed" ||
      fail checkout
  fi
}

# Finds where the branch starts; nowhere when the remote has no commit at all.
find_branch() {
  tracking=refs/remotes/origin/$branch
  if [ -n "$shallow" ] && ! has_commit "$1" "$tracking"; then
    # A shallow clone has the default branch only.
    fetch "$1" "+refs/heads/$branch:$tracking" || grep -qi "find remote ref" "$run/printed" || fail transfer
  fi
  if has_commit "$1" "$tracking"; then
    start=$tracking
  elif [ -n "$strict" ]; then
    code=0
    echo "couldn't find remote ref" >"$run/printed"
    fail transfer
  elif has_commit "$1" HEAD; then
    start=HEAD
  else
    clean_git 60 "$scheme" -C "$state/empty" ls-remote --heads -- "$authenticated" >"$run/answer" \
      2>"$run/printed" || fail transfer
    # Its HEAD names a branch that is not there although it has others.
    [ ! -s "$run/answer" ] || { echo "couldn't find remote ref" >"$run/printed"; fail transfer; }
  fi
}

has_commit() {
  clean_git 120 none -C "$1" rev-parse --verify --quiet --end-of-options "$2^{commit}" >/dev/null \
    2>"$run/printed"
  [ "$code" -le 1 ] || fail local
  return "$code"
}

fetch() {
  record preparing fetch
  folder=$1 refspec=$2
  set -- -C "$folder" fetch --no-tags --no-recurse-submodules
  [ -z "$shallow" ] || set -- "$@" --depth=1
  clean_git 300 "$scheme" "$@" -- origin "$refspec" 2>"$run/printed"
}

# The branch that is checked out, read as data; a dash for none.
current_branch() {
  name=$(head -c 1024 "$repo/.git/HEAD" 2>/dev/null | sed -n 's/^ref: refs\/heads\///p')
  case $name in
    '' | -* | *..* | *[!A-Za-z0-9._/-]*) echo - ;;
    *) echo "$name" ;;
  esac
}

# Commits what the agent changed, and pushes the branch when the remote lacks anything of it.
publish() {
  stage=publish
  record autocommit_started
  cd "$repo" || fail local
  # The agent is gone, and with it what it started and is found: whatever lock is left is taken for nobody's.
  find "$repo/.git" -name '*.lock' -type f -delete
  commit=-
  pushed=0
  in_answer ls-files --unmerged || fail local
  # To add them would declare the conflicts resolved.
  [ ! -s "$run/answer" ] || { echo 'would be overwritten by merge' >"$run/printed"; fail checkout; }
  in_answer add --all || fail local
  in_answer diff --cached --quiet --no-ext-diff --no-textconv
  case $code in
    0) ;;
    1)
      printf '%s\n' "$commit_message" >"$run/message"
      in_answer commit --quiet --no-verify "--file=$run/message" || fail local
      commit=new
      ;;
    *) fail local ;;
  esac
  in_answer rev-parse --verify --quiet --end-of-options HEAD
  [ "$code" -le 1 ] || fail local
  head=$(cat "$run/answer")
  [ "$commit" = - ] || commit=$head
  branch=$(current_branch)
  [ -z "$head" ] || [ "$branch" = - ] || push
  end_strays
  record autocommit_completed "$commit" "$pushed"
}

in_answer() {
  workspace_git "$@" >"$run/answer" 2>"$run/printed"
}

push() {
  [ "$commit" != - ] || [ "$(cat "$state/published" 2>/dev/null)" != "$head" ] || return
  at_remote list
  ! grep -qxF -e "$head	refs/heads/$branch" "$run/answer" || return
  [ -d "$state/push.git" ] ||
    clean_git 60 none init --bare --quiet --template= -- "$state/push.git" 2>"$run/printed" || fail local
  # From a repository of its own: git with a token does not run under what the agent configured.
  clean_git 300 file -C "$state/push.git" fetch --quiet --no-tags --update-shallow --no-write-fetch-head \
    -- "$repo" +HEAD:refs/heads/work 2>"$run/printed" || fail local
  at_remote push_work
  pushed=1
  echo "$head" >"$state/published"
  in_answer update-ref "refs/remotes/origin/$branch" "$head"
}

list() {
  clean_git 60 "$scheme" -C "$state/empty" ls-remote -- "$authenticated" "refs/heads/$branch" >"$run/answer"
}

push_work() {
  clean_git 300 "$scheme" -C "$state/push.git" push --quiet --no-verify -- "$authenticated" \
    "refs/heads/work:refs/heads/$branch"
}

# Runs a command that talks to the remote. When the remote refuses the credential, the command alone is repeated with a
# newer one.
at_remote() {
  while read -r in_force authenticated <"$state/credential" && ! "$1" 2>"$run/printed"; do
    [ -z "$stopped" ] && is_refused "$run/printed" "$seconds" || fail transfer
    record refused "$in_force"
    tries=0
    while read -r newest old <"$state/credential" && [ "$newest" -le "$in_force" ]; do
      [ -z "$stopped" ] && [ "$tries" -lt 600 ] || fail transfer
      sleep 1
      tries=$((tries + 1))
    done
  done
}

# The agent that is there without another one: notes the prompt and reports what git sees.
note() {
  printf '%s\n' "$prompt" >>NOTES.md || return
  printf '%s\n' "$noted"
  git status --porcelain >"$run/answer" || return
  files=$(sed 's/[\\"]/\\&/g; s/.*/"&"/' "$run/answer" | paste -s -d , -)
  printf '{"type":"status","messageId":"%s","files":[%s]}\n' "$message" "$files"
}

drive() {
  trap stop TERM
  exec 3</dev/null
  echo "$$ $(start_of $$)" >"$run/driver"
  stage=prepare
  is_cold=''
  in_force=$generation
  authenticated=$(cat "$run/candidate")
  rm -f -- "$run/candidate"
  [ ! -e "$turn/interrupt" ] || finish interrupted interrupted
  prepare
  [ -z "$stopped" ] && [ ! -e "$turn/interrupt" ] || finish interrupted interrupted
  # At most one agent for a message, whatever happens.
  echo "$submission" >"$run/number"
  ln -- "$run/number" "$turn/started" 2>/dev/null || exit 0
  record ready "$in_force" "$cold" "$(current_branch)"
  cd "$repo" || fail local
  limited 43200 sh "$run/script" agent 3<"$run/input" >>"$run/output" 2>&1
  end_strays
  [ -z "$stopped" ] || finish interrupted interrupted
  [ "$code" -eq 0 ] || finish failed agent_failed "$in_force" "$code" "$seconds"
  [ -z "$auto_commit" ] || publish
  [ -z "$stopped" ] || finish interrupted interrupted
  gate=$(grep -aF '"gateResult"' "$run/output" | tail -n 1 | head -c 4096 | base64 | tr -d '\n')
  finish completed complete "$(current_branch)" "${gate:--}"
}

case ${1:-} in
  '')
    printf '%s' "$input" >"$run/input"
    drive
    ;;
  setup) setup "$2" ;;
  agent) agent ;;
  note) note ;;
esac
