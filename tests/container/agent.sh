# The agent that is built in, which first does what its prompt asks for.
read -r intent
case $intent in
*'Work for ever'*)
  echo '{"type":"working"}'
  while :; do sleep 1; done
  ;;
*'Take a while'*)
  sleep 5
  ;;
*'Leave something running'*)
  # Out of the agent's group and session, and without its environment.
  env -i setsid sh -c 'sleep 600 & exec sleep 600' >/dev/null 2>&1 &
  ;;
esac
printf '%s\n' "$intent" | /usr/local/bin/workspace-runtime agent
