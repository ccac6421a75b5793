current=$(cat "$state/current" 2>/dev/null)
[ -n "$current" ] || { echo not_found; exit; }
seen=$(cat "$state/seen" 2>/dev/null)
[ "$generation" -ge "${seen:-0}" ] || { echo stale_generation; exit; }
tried=$(cat "$state/tried" 2>/dev/null)
[ "$generation" -gt "${tried:-0}" ] || { echo ok; exit; }
end_trial
echo "$generation" >"$state/seen"
printf '%s\n' "$authenticated" >"$state/candidate"
mv -f -- "$state/trial.new" "$state/trial.script" || { echo unavailable; exit; }
setsid sh "$state/trial.script" </dev/null >/dev/null 2>&1 &
echo "$generation" >"$state/tried"
echo ok
