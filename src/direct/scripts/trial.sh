# Tries a pushed credential beside a running turn, and puts it into force.
launch='timeout --foreground -k 5'
mark=TRIAL_OF=$session
authenticated=$(cat "$state/candidate.$generation")
rm -f -- "$state/candidate.$generation" "$state/trial.$generation"
run=$state/turns/$(cat "$state/current")
# The older one may hold the only credential that works, but must not hold this one up.
tries=0
while runs "$state/trial" && [ "$tries" -lt 50 ]; do
  sleep 0.1
  tries=$((tries + 1))
done
(
  flock -w 5 9
  end_group "$state/trial"
) 9>"$state/lock"
echo "$$ $(start_of $$)" >"$state/trial"
# Trouble that says nothing about the credential passes: whoever pushed it has been told that it is taken.
pause=1
until
  began=$(date +%s)
  prove >/dev/null 2>"$state/printed" && put_in_force
do
  if is_refused "$state/printed" $(($(date +%s) - began)); then
    echo "$(size "$run/output") refused $generation" >>"$run/records"
    break
  fi
  [ ! -s "$run/ended" ] && runs "$run/driver" || break
  sleep "$pause"
  pause=$((pause < 5 ? 5 : 15))
done
rm -f -- "$state/trial" "$state/printed"
