package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// A table as rpk prints it: two blanks between columns, the heading in capitals.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer, headings ...string) table {
	t := table{tabwriter.NewWriter(w, 6, 4, 2, ' ', 0)}
	if len(headings) > 0 {
		row := make([]any, len(headings))
		for i, heading := range headings {
			row[i] = strings.ToUpper(heading)
		}
		t.row(row...)
	}
	return t
}

func (t table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, cell := range cells {
		texts[i] = fmt.Sprint(cell)
	}
	fmt.Fprintln(t, strings.Join(texts, "\t"))
}
