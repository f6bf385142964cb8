from hornbook.cli import main

main()
