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
*'Look at the files'*)
  # Where the test finds it, and enough lines to fill many packets.
  printf '%s' "$intent" | grep -o '/workspace/[^"]*/attachments/[^"]*' |
    xargs sha256sum | cut -c 1-64 | sort >"$HOME/digests"
  seq -f '{"type":"line","number":%.0f}' 2000
  ;;
esac
printf '%s\n' "$intent" | /usr/local/bin/workspace-runtime agent
