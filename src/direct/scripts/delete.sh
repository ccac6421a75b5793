: >"$hidden/deleted.$session"
current=$(cat "$state/current" 2>/dev/null)
[ -z "$current" ] || end_run "$state/turns/$current"
end_trials
end_strays
trash=$hidden/removed.$session
if [ -e "$base" ]; then
  mkdir -p -- "$trash"
  mv -- "$base" "$trash/$$"
fi
if [ -e "$trash" ]; then
  setsid sh -c 'chmod -R u+rwX -- "$1"; rm -rf -- "$1"' remove "$trash" </dev/null >/dev/null 2>&1 &
  tries=0
  while [ -e "$trash" ] && [ "$tries" -lt 50 ]; do
    sleep 0.02
    tries=$((tries + 1))
  done
fi
[ -e "$trash" ] && echo busy || echo ok
