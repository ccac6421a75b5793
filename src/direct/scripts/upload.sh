mkdir -p -- "${target%/*}" || { echo unavailable; exit; }
[ -n "$append" ] || rm -f -- "$target"
printf '%s' "$piece" | base64 -d >>"$target" && echo ok || echo unavailable
