turn=$state/turns/$message
run=$turn/$submission

# How far a submission of this turn is.
answer() {
  word=waiting
  [ ! -e "$turn/started" ] || word=running
  [ -d "$turn/$1" ] || word=failed
  [ ! -s "$turn/$1/ended" ] || word=$(cat "$turn/$1/ended")
  echo "turn $1 $word"
  exit
}

mkdir -p -- "$turn" "$state/empty" || { echo unavailable; exit; }
# One at a time. One that is killed lets go of it.
exec 8>"$state/starting"
flock -n 8 || { echo busy; exit; }
# The program holds secrets.
trap 'rm -f -- "$state/incoming" "$state"/part.*' EXIT
seen=$(cat "$state/seen" 2>/dev/null)
[ "$generation" -ge "${seen:-0}" ] || { echo stale_generation; exit; }
# An agent that was started is never started again.
[ ! -s "$turn/started" ] || answer "$(cat "$turn/started")"
current=$(cat "$state/current" 2>/dev/null)
[ "$current" != "$message/$submission" ] || answer "$submission"
position=0
if [ -n "$current" ]; then
  old=$state/turns/$current
  if runs "$old/driver"; then
    case $current in
      "$message"/*)
        end_run "$old"
        [ ! -s "$turn/started" ] || answer "$(cat "$turn/started")"
        ;;
      *)
        : >"${old%/*}/interrupt"
        kill -s TERM "$pid" 2>/dev/null
        echo busy
        exit
        ;;
    esac
  fi
  # Positions go on where no event of the old run can be.
  position=$(cat "$old/position" 2>/dev/null)
  lines=$(wc -l 2>/dev/null <"$old/records")
  position=$((${position:-0} + ((${lines:-0} + 3) << 32)))
fi
# Not while one writes what it has proved.
(
  flock -w 1 9
  end_trials
) 9>"$state/lock"
end_strays
# What is there was left by a start that was killed.
rm -rf -- "$run"
mkdir -- "$run" || { echo unavailable; exit; }
: >"$run/output"
: >"$run/records"
echo "$position" >"$run/position"
printf '%s\n' "$authenticated" >"$run/candidate"
echo "$generation" >"$state/seen"
{ mv -f -- "$state/incoming" "$run/script" && echo "$message/$submission" >"$state/current.new" &&
  mv -f -- "$state/current.new" "$state/current"; } || { rm -rf -- "$run"; echo unavailable; exit; }
for left in "$state"/turns/*/*/; do
  [ "$left" = "$run/" ] || rm -rf -- "$left"
done
setsid sh "$run/script" </dev/null >/dev/null 2>&1 8>&- &
trap - EXIT
rm -f -- "$state"/part.*
exec 8>&-
tries=0
while [ ! -s "$run/driver" ] && [ "$tries" -lt 60 ]; do
  sleep 0.02
  tries=$((tries + 1))
done
answer "$submission"
