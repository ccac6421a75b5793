# Tries a pushed credential beside a running turn, and puts it into force.
launch='timeout --foreground -k 5'
mark=TRIAL_OF=$session
echo "$$ $(start_of $$)" >"$state/trial"
authenticated=$(cat "$state/candidate")
rm -f -- "$state/candidate" "$state/trial.script"
run=$state/turns/$(cat "$state/current")
for pause in 1 5 15 0; do
  prove >/dev/null 2>"$state/printed" && put_in_force && break
  if is_refused "$state/printed"; then
    echo "$(size "$run/output") refused $generation" >>"$run/records"
    break
  fi
  sleep "$pause"
done
rm -f -- "$state/trial" "$state/printed"
