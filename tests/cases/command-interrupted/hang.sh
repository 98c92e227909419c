trap '' INT TERM
echo $$ > pid
sleep 1000 &
echo $! > child
wait
