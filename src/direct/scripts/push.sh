current=$(cat "$state/current" 2>/dev/null)
[ -n "$current" ] || { echo not_found; exit; }
seen=$(cat "$state/seen" 2>/dev/null)
[ "$generation" -ge "${seen:-0}" ] || { echo stale_generation; exit; }
tried=$(cat "$state/tried" 2>/dev/null)
[ "$generation" -gt "${tried:-0}" ] || { echo ok; exit; }
# One that waits is replaced. One that is under way may hold the only credential that works.
[ "$(cat "$state/waiting" 2>/dev/null)" = "$(cat "$state/trial" 2>/dev/null)" ] || end_group "$state/waiting"
echo "$generation" >"$state/seen"
printf '%s\n' "$authenticated" >"$state/candidate.$generation"
mv -f -- "$state/trial.new" "$state/trial.$generation" || { echo unavailable; exit; }
setsid sh "$state/trial.$generation" </dev/null >/dev/null 2>&1 &
echo "$! $(start_of "$!")" >"$state/waiting"
echo "$generation" >"$state/tried"
echo ok
